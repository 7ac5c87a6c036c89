package proc

// EnvironmentOf returns a variable of the environment with which a process, or the process that
// forked it, executed its program (proc_pid_environ(5)). A process may overwrite that memory, as
// programs with setproctitle do. EnvironmentOf returns "" if the variable is unknown, or if reading
// that memory hangs.
func EnvironmentOf(pid int, variable string) string { return environmentOf(pid, variable) }

// Image returns a text that identifies the addresses at which the kernel has loaded the program of
// a process (proc_pid_auxv(5)). A process inherits them by fork(2), and each execve(2) randomizes
// them again. Image returns "" if they are unknown, or if reading them hangs.
func Image(pid int) string { return image(pid) }

// UniqueImage is Image, but returns "" too if the addresses might not be random
// (randomize_va_space in proc_sys_kernel(5), personality(2)).
func UniqueImage(pid int) string { return uniqueImage(pid) }

// HasGroup reports whether a process group has members. Zombies count. HasGroup asks the kernel and
// does not read /proc. Therefore it also finds processes that /proc hides (hidepid in proc(5)). It
// sends no signal.
func HasGroup(group int) bool { return hasGroup(group) }
