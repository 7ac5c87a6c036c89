package procattr

import "os"

func reset() {
	privileged := os.Geteuid() == 0
	resetLimits(privileged)
	if privileged {
		resetScheduling()
		resetProcess()
	}
}
