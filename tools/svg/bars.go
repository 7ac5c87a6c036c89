package main

import (
	"fmt"
	"strconv"
	"strings"
)

// bars draws what lasts from when until when:
//
//	marks: a stop is asked for | StopTimeout is over      moments, numbered from 1 on
//	marks: Run is called | ready @ 1.9 | Run returns      one of them somewhere else
//	hooks: 1-1.5 blue every OnStop; 1.5-2 green every OnExit
func bars(c *canvas, lines []string) error {
	const left, top, wide, tall, gap = 166, 56, 690, 30, 10
	head, names, err := cut(lines[0], ":")
	if err != nil || head != "marks" {
		return fmt.Errorf("%q: must be the marks", lines[0])
	}
	marks := split(names, "|")
	x := func(at float64) float64 { return left + (at-1)*wide/float64(len(marks)-1) }
	bottom := float64(top + (len(lines)-1)*(tall+gap))
	for i, mark := range marks {
		at := float64(i + 1)
		mark, elsewhere, found := strings.Cut(mark, " @ ")
		if found {
			if at, err = strconv.ParseFloat(elsewhere, 64); err != nil {
				return err
			}
		}
		text := strings.Split(mark, " / ")
		for j, line := range text {
			c.text(x(at), top-14-float64(len(text)-1-j)*lineHeight, line, "soft", "middle")
		}
		c.line("rule thin", point{x(at), top - 8}, point{x(at), bottom})
	}
	for i, line := range lines[1:] {
		y := float64(top + i*(tall+gap))
		label, parts, err := cut(line, ":")
		if err != nil {
			return err
		}
		c.text(left-14, y+tall/2+4.5, label, "ink bold", "end")
		for _, part := range split(parts, ";") {
			var from, to float64
			var colour string
			if n, err := fmt.Sscanf(part, "%g-%g %s", &from, &to, &colour); n != 3 {
				return fmt.Errorf("%q: %w", part, err)
			}
			_, text, _ := strings.Cut(part, colour+" ")
			c.box(x(from)+1, y, x(to)-x(from)-2, tall, colour, false, text)
		}
	}
	c.reach(x(float64(len(marks))), bottom)
	return nil
}
