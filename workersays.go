package lifecycle

import (
	"encoding/json"

	"example.com/lifecycle/internal/sdnotify"
	"example.com/lifecycle/internal/statefile"
)

// What a worker says is limited before it is parsed: a state is no longer than a record, a failure no longer than its
// two texts can be in JSON, and neither is deep.
const (
	maxState   = statefile.MaxObject
	maxFailure = 48 << 10
	maxDepth   = 16
)

// stateFrom is the state in a message, nil if there is none.
func stateFrom(m sdnotify.Message) (now *Status) {
	if text, ok := m.Value("X_LIFECYCLE_STATE"); ok && isModest(text, maxState) && json.Unmarshal([]byte(text), &now) != nil {
		return nil
	}
	return now
}

// failureFrom is the failure in a message, nil if there is none.
func failureFrom(m sdnotify.Message) (failed *failure) {
	if text, ok := m.Value("X_LIFECYCLE_FAILURE"); ok && isModest(text, maxFailure) && json.Unmarshal([]byte(text), &failed) != nil {
		return nil
	}
	return failed
}

// isModest reports whether a JSON text is short and flat.
func isModest(text string, size int) bool {
	if len(text) > size {
		return false
	}
	depth, quoted, escaped := 0, false, false
	for i := range len(text) {
		switch c := text[i]; {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = c == '\\', c != '"'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}
