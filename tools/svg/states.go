package main

import (
	"fmt"
	"strings"
)

// states draws in which state something can be, and what brings it from one to another:
//
//	Ready @ 1.3 0 green                  a state, its place in columns and rows, its colour
//	* -> Starting: Run                   where it begins
//	Ready -> Reloading: HUP              in a row, a column or around one corner: down, then to the side
//	Stopping => Exited: TERM again       dashed
func states(c *canvas, lines []string) error {
	const left, top, column, row, w, h = 150, 62, 245, 132, 116, 42
	where := map[string]point{}
	type edge struct {
		from, to string
		dashed   bool
		text     []string
	}
	var edges []edge
	for _, line := range lines {
		if name, place, found := strings.Cut(line, " @ "); found {
			var p point
			var colour string
			if n, err := fmt.Sscan(place, &p.x, &p.y, &colour); n != 3 {
				return fmt.Errorf("%q: %w", line, err)
			}
			p = point{left + p.x*column, top + p.y*row}
			where[name] = p
			c.box(p.x-w/2, p.y-h/2, w, h, colour, true, name)
			continue
		}
		who, what, err := cut(line, ":")
		if err != nil {
			return err
		}
		e := edge{text: strings.Split(what, " / ")}
		separator := " -> "
		if e.dashed = strings.Contains(who, " => "); e.dashed {
			separator = " => "
		}
		if e.from, e.to, err = cut(who, separator); err != nil {
			return err
		}
		edges = append(edges, e)
	}
	several := func(e edge) (n int) { // between the same two
		for _, other := range edges {
			if other.from == e.from && other.to == e.to || other.from == e.to && other.to == e.from {
				n++
			}
		}
		return n
	}
	for _, e := range edges {
		b, known := where[e.to]
		a, knownToo := where[e.from]
		if e.from == "*" {
			a, knownToo = point{b.x - w/2 - 44, b.y}, true
			c.box(a.x-5, a.y-5, 10, 10, "plain", false)
			a.x += 5 - w/2
		}
		if !known || !knownToo {
			return fmt.Errorf("%s or %s is no state", e.from, e.to)
		}
		class := "line"
		if e.dashed {
			class += " dash"
		}
		aside := 0.0
		if several(e) > 1 {
			aside = 9
		}
		say := func(x, y float64, anchor string) {
			for i, line := range e.text {
				c.text(x, y+float64(i)*lineHeight, line, "soft", anchor)
			}
		}
		high := float64(len(e.text)) * lineHeight
		switch {
		case a.y == b.y && a.x < b.x: // to the right, its text above
			from, to := point{a.x + w/2, a.y - aside}, point{b.x - w/2, b.y - aside}
			c.arrow(class, from, to)
			say((from.x+to.x)/2, from.y-high+9, "middle")
		case a.y == b.y: // back, its text below
			from, to := point{a.x - w/2, a.y + aside}, point{b.x + w/2, b.y + aside}
			c.arrow(class, from, to)
			say((from.x+to.x)/2, from.y+17, "middle")
		case a.x == b.x: // down; of two, the first has its text on the left
			anchor, side := "start", 1.0
			if aside != 0 && !e.dashed {
				anchor, side = "end", -1
			}
			from, to := point{a.x + 2*side*aside, a.y + h/2}, point{b.x + 2*side*aside, b.y - h/2}
			c.arrow(class, from, to)
			if y := from.y + 24; aside == 0 {
				say(from.x+9, y, anchor)
			} else {
				say(from.x+side*9, (from.y+to.y)/2-high/2+13, anchor)
			}
		default: // down, and around the corner
			side := 1.0
			if a.x > b.x {
				side = -1
			}
			c.arrow(class, point{a.x, a.y + h/2}, point{a.x, b.y}, point{b.x - side*w/2, b.y})
			say(a.x+9, a.y+h/2+24, "start")
		}
	}
	return nil
}
