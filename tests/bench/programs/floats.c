/*
 * floats [COUNT [matrix|bodies|fourier]]: COUNT rounds (20) of a matrix product, of bodies that
 * attract each other, and of a Fourier transform and back, or of only one of these. REAL is double,
 * or float for the single-precision build. Prints a few digits of each result: different machines
 * may fuse multiplications with additions differently, and no more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

#ifndef REAL
#define REAL double
#endif
typedef REAL real;

static unsigned random_state = 440;

/* Between 0 and 1. */
static real some(void)
{
	random_state = random_state * 1664525 + 1013904223;
	return (real)(random_state >> 8) / (real)(1 << 24);
}

static double matrix(int rounds)
{
	enum { SIDE = 48 };
	static real a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];
	real sum = 0;

	for (int row = 0; row < SIDE; row++)
		for (int column = 0; column < SIDE; column++) {
			a[row][column] = some() - (real)0.5;
			b[row][column] = some() + (real)0.5;
		}
	for (int round = 0; round < rounds * 6; round++) {
		for (int row = 0; row < SIDE; row++)
			for (int column = 0; column < SIDE; column++) {
				real dot = 0;

				for (int n = 0; n < SIDE; n++)
					dot += a[row][n] * b[n][column];
				c[row][column] = dot;
			}
		/* The next product depends on this one, and stays as large. */
		for (int n = 0; n < SIDE; n++)
			a[n][n] = c[n][n] / SIDE;
	}
	for (int n = 0; n < SIDE; n++)
		sum += c[n][n] * c[n][n];
	return (double)sum;
}

static double bodies(int rounds)
{
	enum { BODIES = 8 };
	static struct {
		real mass, place[3], speed[3];
	} all[BODIES];
	const real dt = (real)0.0001;
	real energy = 0;

	for (int i = 0; i < BODIES; i++) {
		all[i].mass = some() + 1;
		for (int axis = 0; axis < 3; axis++) {
			/* Far enough from each other that rounding decides nothing. */
			all[i].place[axis] = some() + (real)(5 * (i >> axis & 1));
			all[i].speed[axis] = some() - (real)0.5;
		}
	}
	for (int round = 0; round < rounds * 500; round++) {
		for (int i = 0; i < BODIES; i++)
			for (int j = i + 1; j < BODIES; j++) {
				real d[3], square = 0, pull;

				for (int axis = 0; axis < 3; axis++) {
					d[axis] = all[i].place[axis] - all[j].place[axis];
					square += d[axis] * d[axis];
				}
				pull = dt / (square * (sizeof(real) == 4 ? sqrtf(square) : sqrt(square)));
				for (int axis = 0; axis < 3; axis++) {
					all[i].speed[axis] -= d[axis] * all[j].mass * pull;
					all[j].speed[axis] += d[axis] * all[i].mass * pull;
				}
			}
		for (int i = 0; i < BODIES; i++)
			for (int axis = 0; axis < 3; axis++)
				all[i].place[axis] += dt * all[i].speed[axis];
	}
	for (int i = 0; i < BODIES; i++)
		for (int axis = 0; axis < 3; axis++)
			energy += all[i].mass * all[i].speed[axis] * all[i].speed[axis] / 2;
	return (double)energy;
}

enum { LOG = 10, POINTS = 1 << LOG };
static real re[POINTS], im[POINTS], cosines[POINTS / 2], sines[POINTS / 2];

/* In place; sign -1 transforms, 1 transforms back but for a factor. */
static void transform(int sign)
{
	for (int i = 0, j = 0; i < POINTS; i++) {
		int bit = POINTS >> 1;

		if (i < j) {
			real swap = re[i];

			re[i] = re[j], re[j] = swap;
			swap = im[i];
			im[i] = im[j], im[j] = swap;
		}
		for (; j & bit; bit >>= 1)
			j ^= bit;
		j |= bit;
	}
	for (int half = 1; half < POINTS; half *= 2) {
		int stride = POINTS / 2 / half;

		for (int start = 0; start < POINTS; start += 2 * half)
			for (int n = 0; n < half; n++) {
				real c = cosines[n * stride], s = sign * sines[n * stride];
				int i = start + n, j = i + half;
				real x = re[j] * c - im[j] * s, y = re[j] * s + im[j] * c;

				re[j] = re[i] - x, im[j] = im[i] - y;
				re[i] += x, im[i] += y;
			}
	}
}

static double fourier(int rounds)
{
	real sum = 0;

	for (int n = 0; n < POINTS / 2; n++) {
		cosines[n] = (real)cos(2 * M_PI * n / POINTS);
		sines[n] = (real)sin(2 * M_PI * n / POINTS);
	}
	for (int n = 0; n < POINTS; n++)
		re[n] = some(), im[n] = 0;
	for (int round = 0; round < rounds * 6; round++) {
		transform(-1);
		/* A low-pass filter, so that it is not just there and back. */
		for (int n = POINTS / 4; n < 3 * POINTS / 4; n++)
			re[n] *= (real)0.99, im[n] *= (real)0.99;
		transform(1);
		for (int n = 0; n < POINTS; n++)
			re[n] /= POINTS, im[n] /= POINTS;
	}
	for (int n = 0; n < POINTS; n++)
		sum += re[n] * re[n] + im[n] * im[n];
	return (double)sum;
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 20;
	const char *only = argc > 2 ? argv[2] : "";
	static const struct {
		const char *name;
		double (*run)(int);
	} all[] = { { "matrix", matrix }, { "bodies", bodies }, { "fourier", fourier } };

	printf("floats of %d bytes, %d rounds:", (int)sizeof(real), count);
	for (int n = 0; n < 3; n++) {
		random_state = 440;
		if (!*only || !strcmp(only, all[n].name))
			printf(" %s %.3g", all[n].name, all[n].run(count));
	}
	printf("\n");
	return 0;
}
