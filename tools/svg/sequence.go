package main

import (
	"fmt"
	"slices"
	"strings"
)

// sequence draws who tells whom what, from top to bottom:
//
//	lanes: shell | launcher | stage 1 | daemon
//	shell -> launcher: echod start       an arrow with its text
//	launcher => stage 1: fork, exec      an arrow with which the life of a lane begins
//	launcher: locks the PID file         what one does by itself
//	stage 1 ends                         the end of a lane
//	== where the start fails             from here on another story
func sequence(c *canvas, lines []string) error {
	const top, first, between, tall = 12, 90, 215, 34
	head, names, err := cut(lines[0], ":")
	if err != nil || head != "lanes" {
		return fmt.Errorf("%q: must be the lanes", lines[0])
	}
	lanes := split(names, "|")
	x := func(lane int) float64 { return first + float64(lane)*between }
	find := func(name string) (int, error) {
		at := slices.Index(lanes, strings.TrimSpace(name))
		if at < 0 {
			return 0, fmt.Errorf("%q is no lane", name)
		}
		return at, nil
	}
	began := make([]float64, len(lanes)) // where its life line begins, 0: not yet
	ended := make([]bool, len(lanes))
	born := func(lane int, middle float64) {
		c.box(x(lane)-60, middle-tall/2, 120, tall, "blue", true, lanes[lane])
		began[lane], ended[lane] = middle+tall/2, false
	}
	end := func(lane int, y float64) {
		if began[lane] != 0 && !ended[lane] {
			c.line("line thin dash", point{x(lane), began[lane]}, point{x(lane), y})
		}
		ended[lane] = true
	}
	for lane, name := range lanes {
		if !strings.Contains(strings.Join(lines, "\n"), "=> "+name+":") {
			born(lane, top+tall/2)
		}
	}
	y := float64(top + tall + 14)
	var notes []func() // over the life lines
	for _, line := range lines[1:] {
		if title, found := strings.CutPrefix(line, "== "); found {
			for lane := range lanes {
				end(lane, y+4)
			}
			y += 20
			c.line("rule", point{first - 60, y}, point{x(len(lanes)-1) + 60, y})
			c.text(first-60, y+22, title, "ink", "start")
			y += 32
			for lane := range lanes {
				began[lane], ended[lane] = y, false
			}
			continue
		}
		if name, found := strings.CutSuffix(line, " ends"); found {
			lane, err := find(name)
			if err != nil {
				return err
			}
			y += 6
			end(lane, y)
			c.line("line", point{x(lane) - 5, y - 5}, point{x(lane) + 5, y + 5})
			c.line("line", point{x(lane) - 5, y + 5}, point{x(lane) + 5, y - 5})
			y += 10
			continue
		}
		who, what, err := cut(line, ":")
		if err != nil {
			return err
		}
		text := strings.Split(what, " / ")
		separator := "->"
		if strings.Contains(who, "=>") {
			separator = "=>"
		}
		from, to, found := strings.Cut(who, separator)
		sender, err := find(from)
		if err != nil {
			return err
		}
		if !found {
			w := 0.0
			for _, line := range text {
				w = max(w, textWidth(line, "ink")+18)
			}
			h := float64(len(text)*lineHeight + 9)
			at := y + 4
			notes = append(notes, func() { c.box(x(sender)-w/2, at, w, h, "plain", false, text...) })
			y += h + 12
			continue
		}
		receiver, err := find(to)
		if err != nil {
			return err
		}
		a, b := x(sender), x(receiver)
		if space := max(a-b, b-a) - 24; textWidth(what, "ink") > space {
			return fmt.Errorf("%q does not fit above its arrow", what)
		}
		y += 24
		if separator == "=>" {
			y += 8
			born(receiver, y)
			b -= 60
		}
		c.arrow("line", point{a, y}, point{b, y})
		c.text((a+b)/2, y-7, what, "ink", "middle")
		y += 12
		if separator == "=>" {
			y += 14
		}
	}
	for lane := range lanes {
		end(lane, y+6)
	}
	for _, note := range notes {
		note()
	}
	return nil
}
