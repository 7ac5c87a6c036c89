//go:build unix && !aix && !linux

package privilege

// capability is a right that only Linux has.
type capability struct{}

var capSetGID, capSetUID, capChroot capability

func (capability) advice() string { return "" }
