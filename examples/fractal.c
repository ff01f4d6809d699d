/* SPDX-License-Identifier: MIT */
/*
 * fractal.c - maps an object that exists nowhere: fractal WIDTH HEIGHT [X Y]
 *
 * The object is a picture of the Mandelbrot set, of so many pixels and a byte a pixel, which tells how soon the point escapes. A pager
 * computes each page when it is touched. What is printed is a window of it around the pixel X Y, the middle if none is given; so of a
 * picture of a terapixel only some pages are ever computed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <quire/pager.h>

#define COLUMNS 78
#define ROWS    24
#define DEEPEST 255

struct picture {
	uint64_t width, height;
	_Atomic unsigned long pages; /* that were computed */
};

/* How many rounds the point stays; DEEPEST: it never left. */
static unsigned char escape(double re, double im)
{
	double x = 0, y = 0;
	unsigned char n;

	for (n = 0; n < DEEPEST && x * x + y * y <= 4; n++) {
		double next = x * x - y * y + re;

		y = 2 * x * y + im;
		x = next;
	}
	return n;
}

static unsigned char pixel(const struct picture *picture, uint64_t x, uint64_t y)
{
	return escape(-2.2 + 3.2 * ((double)x + 0.5) / (double)picture->width,
		      -1.2 + 2.4 * ((double)y + 0.5) / (double)picture->height);
}

static int picture_size(void *arg, uint64_t *ret_bytes)
{
	const struct picture *picture = arg;

	*ret_bytes = picture->width * picture->height;
	return 0;
}

static int picture_fault(void *arg, uint64_t offset, void *page)
{
	struct picture *picture = arg;
	unsigned char *bytes = page;

	for (size_t i = 0; i < quire_pagesize(); i++)
		bytes[i] = pixel(picture, (offset + i) % picture->width, (offset + i) / picture->width);
	picture->pages++;
	return 0;
}

static const struct quire_pager_ops picture_ops = {
    .ops_size = sizeof(picture_ops),
    .name = "fractal",
    .threads = 4,
    .size = picture_size,
    .fault = picture_fault,
};

static void print_window(const struct picture *picture, const unsigned char *map, uint64_t x, uint64_t y)
{
	static const char shades[] = " .:-=+*%#@";
	uint64_t left = x > COLUMNS / 2 ? x - COLUMNS / 2 : 0, top = y > ROWS / 2 ? y - ROWS / 2 : 0;

	for (uint64_t row = top; row < top + ROWS && row < picture->height; row++) {
		for (uint64_t column = left; column < left + COLUMNS && column < picture->width; column++)
			putchar(shades[map[row * picture->width + column] * (sizeof(shades) - 2) / DEEPEST]);
		putchar('\n');
	}
}

static int fail(const char *what)
{
	fprintf(stderr, "fractal: %s\n", what);
	return 1;
}

int main(int argc, char **argv)
{
	struct picture picture = {0};
	const unsigned char *map;
	uint64_t x, y;
	int fd;

	if (argc == 3 || argc == 5) {
		picture.width = strtoull(argv[1], NULL, 10);
		picture.height = strtoull(argv[2], NULL, 10);
	}
	if (picture.width == 0 || picture.height == 0 || picture.width > UINT64_C(1) << 22 || picture.height > UINT64_C(1) << 22) {
		fprintf(stderr, "usage: fractal WIDTH HEIGHT [X Y]   (at most 4194304 each)\n");
		return 2;
	}
	x = argc == 5 ? strtoull(argv[3], NULL, 10) : picture.width / 2;
	y = argc == 5 ? strtoull(argv[4], NULL, 10) : picture.height / 2;
	fd = quire_open_pager(&picture_ops, &picture, O_RDONLY);
	if (fd < 0)
		return fail(quire_errormsg());
	map = quire_mmap(NULL, picture.width * picture.height, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return fail(quire_errormsg());
	close(fd);
	print_window(&picture, map, x, y);
	printf("%lu of %llu pages were computed\n", picture.pages,
	       (unsigned long long)((picture.width * picture.height + quire_pagesize() - 1) / quire_pagesize()));
	return 0;
}
