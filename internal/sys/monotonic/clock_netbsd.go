package monotonic

const clock = 3 // CLOCK_MONOTONIC in sys/time.h, which x/sys does not have
