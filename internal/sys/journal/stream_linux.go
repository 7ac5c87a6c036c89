package journal

import (
	"fmt"
	"syscall"
)

func isStderr(stream string) bool {
	var stat syscall.Stat_t
	return stream != "" && syscall.Fstat(2, &stat) == nil && stream == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}
