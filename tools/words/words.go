package main

import (
	"fmt"
	"regexp"
	"unicode/utf8"
)

const columns = 100

// unused are the words that this project does not use, each with advice. A word matches in any
// case, within one line.
var unused = []struct{ word, instead string }{
	{"somebody", actor},
	{"someone", actor},
	{"anybody", actor},
	{"anyone", actor},
	{"nobody", actor},
	{"no one", actor},
	{"whoever", actor},
	{"to whom", actor},
	{"of whom", actor},
	{"by whom", actor},
	{"he|him|his", "write the user, the caller, or they"},
	{"of which", "start a new sentence"},
	{"such a one", "repeat the noun"},
	{"one that|ones that", "repeat the noun"},
	{"that of", "repeat the noun"},
	{"is to be|are to be", "write must, will or should"},
	{"has to be had|to be had", "name the actor"},
	{"be it", "write whether, or both cases"},
	{"what was left|what is left", "name what remains"},
	{"comes of|becomes of|became of|come of", "write the result, or the outcome"},
	{"is told|are told|was told|told of", "write is notified, gets or receives"},
	{"hears", "write receives"},
	{"aloud", "write in the log"},
	{"wish|wishes", "write request"},
	{"lets go|let go", "write releases"},
	{"last words", "write last output"},
	{"lifeline", "write control socket"},
	{"by this it|thereof|therein|thereby", "write a plain sentence"},
	{"everybody|everyone", actor},
	{"in spite of|all the same|in vain|anew", "write a plain word"},
	{"heed|heeds|heeded", "write obeys, or handles"},
	{"has its turn|have their turn", "write is called, or follows"},
	{"tells the truth|tell the truth", "write reports the result"},
}

const actor = "name the actor: the launcher, the supervisor, the worker, the daemon, the caller, the user"

var unusedWords = func() (patterns []*regexp.Regexp) {
	for _, u := range unused {
		patterns = append(patterns, regexp.MustCompile(`(?i)\b(`+u.word+`)\b`))
	}
	return patterns
}()

// findings returns a text for each rule that the line breaks.
func (l line) findings() (texts []string) {
	if width := utf8.RuneCountInString(l.source); width > columns { // a tab counts as one
		texts = append(texts, fmt.Sprintf("has %d columns, more than %d", width, columns))
	}
	for i, pattern := range unusedWords {
		if found := pattern.FindString(l.text); found != "" {
			texts = append(texts, fmt.Sprintf("%q: %s", found, unused[i].instead))
		}
	}
	return texts
}
