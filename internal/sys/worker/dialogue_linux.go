package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/lifecycle/internal/sys/bytetext"
)

// These are the messages that follow the orders. A field that the receiver does not know is
// ignored, because supervisor and worker may be of different versions.
type (
	// notice is a message of the supervisor.
	notice struct {
		Replaced bool      `json:"replaced,omitempty"`
		NotLast  bool      `json:"not_last,omitempty"`
		Question *question `json:"question,omitempty"`
	}
	question struct {
		ID    int             `json:"id"`
		State json.RawMessage `json:"state"`
	}
	// reply is a message of the worker.
	reply struct {
		Hello  *Hello  `json:"hello,omitempty"`
		Answer *answer `json:"answer,omitempty"`
	}
	answer struct {
		ID     int    `json:"id"`
		Reason string `json:"reason,omitempty"` // "": the answer is yes
	}
)

const (
	// sendTime is how long a short message may block. Only two kinds of process leave their socket
	// full: a suspended process, and a process that does nothing but write.
	sendTime = time.Second
	// maxQuestions is how many questions wait for OnAsk. The supervisor asks one at a time.
	maxQuestions = 8
	// maxText is the maximum length of a reason or a version, in bytes. The supervisor drops a message
	// that is too long.
	maxText = 4 << 10
)

// dialogue sends and receives the messages in the supervisor.
type dialogue struct {
	greetings chan Hello

	talk *talk
}

type talk struct {
	mu      sync.Mutex
	greeted *Hello
	lastID  int
	answers map[int]chan answer
}

func newDialogue() dialogue {
	return dialogue{greetings: make(chan Hello, 1), talk: &talk{answers: map[int]chan answer{}}}
}

func (d *dialogue) endDialogue() { close(d.greetings) }

func (d *dialogue) hello() <-chan Hello { return d.greetings }

// handle handles a message of the worker, which may be hostile. It never blocks.
func (d *dialogue) handle(message json.RawMessage) {
	var said reply
	if json.Unmarshal(message, &said) != nil {
		return
	}
	d.talk.mu.Lock()
	defer d.talk.mu.Unlock()
	if said.Hello != nil && d.talk.greeted == nil {
		d.talk.greeted = said.Hello
		d.greetings <- *said.Hello
	}
	if said.Answer != nil {
		if asker := d.talk.answers[said.Answer.ID]; asker != nil {
			delete(d.talk.answers, said.Answer.ID)
			asker <- *said.Answer
		}
	}
}

// open returns the number and the channel of a new question.
func (t *talk) open() (id int, c <-chan answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastID++
	asker := make(chan answer, 1)
	t.answers[t.lastID] = asker
	return t.lastID, asker
}

func (t *talk) close(id int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.answers, id)
}

// canBeTold returns why no message can be sent to the process.
func (r *running) canBeTold() error {
	if r.isProgram {
		return errors.ErrUnsupported
	}
	if !r.awaitOrders() { // the orders must come first
		return ErrNotBegun
	}
	return nil
}

// awaitOrders waits until the process has got its orders, and reports whether it has. It waits for
// sendTime at most.
func (r *running) awaitOrders() bool {
	select {
	case <-r.told:
		return true
	case <-time.After(sendTime):
		return false
	}
}

func (r *running) replace() error { return r.notify(notice{Replaced: true}) }

func (r *running) notLast() error { return r.notify(notice{NotLast: true}) }

func (r *running) notify(n notice) error {
	if err := r.canBeTold(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), sendTime, errors.New("the worker does not read its messages"))
	defer cancel()
	return r.peer.SendContext(ctx, n)
}

func (r *running) askAdopt(ctx context.Context, state json.RawMessage) error {
	if err := r.canBeTold(); err != nil {
		return err
	}
	id, answers := r.talk.open()
	defer r.talk.close(id)
	if err := r.peer.SendContext(ctx, notice{Question: &question{ID: id, State: state}}); err != nil {
		return err
	}
	select {
	case a := <-answers:
		if a.Reason != "" {
			return errors.New(a.Reason)
		}
		return nil
	case <-r.heard:
		return errors.New("the worker ended before it answered")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// handle handles a message of the supervisor.
func (l *line) handle(message json.RawMessage) {
	var told notice
	if json.Unmarshal(message, &told) != nil {
		return
	}
	if told.Replaced || told.NotLast {
		l.followedOnce.Do(func() { close(l.followed) })
	}
	if told.Replaced {
		l.replacedOnce.Do(func() { close(l.replaced) })
	}
	if told.Question != nil {
		select {
		case l.asks <- *told.Question:
		default: // the supervisor does not do this
		}
	}
}

func (l *line) isReplaced() <-chan struct{} { return l.replaced }

func (l *line) isFollowed(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-l.followed:
	case <-l.ended:
	case <-timer.C:
	}
	select {
	case <-l.followed:
		return true
	default:
		return false
	}
}

func (l *line) sendHello(h Hello) error {
	h.Version, h.Refuses = cut(h.Version), cut(h.Refuses)
	return l.reply(reply{Hello: &h})
}

// cut returns the beginning of a text, as UTF-8.
func cut(text string) string {
	text = bytetext.Valid(text[:min(len(text), maxText)])
	return text[:min(len(text), maxText)]
}

func (l *line) onAsk(f func(json.RawMessage) error) {
	go func() {
		for {
			select {
			case q := <-l.asks:
				a := answer{ID: q.ID}
				if err := f(q.State); err != nil {
					a.Reason = cmp.Or(cut(err.Error()), fmt.Sprintf("%T", err))
				}
				_ = l.reply(reply{Answer: &a})
			case <-l.lost:
				return
			}
		}
	}()
}

func (l *line) reply(r reply) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), sendTime, errors.New("the supervisor does not read its messages"))
	defer cancel()
	return l.peer.SendContext(ctx, r)
}
