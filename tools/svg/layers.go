package main

import "strings"

// layers draws what stands on what, a row of boxes a line. A box is its colour, its name and what it is:
//
//	blue Main, Ensure / verbs, messages, exit codes
//	green Detach / how it is placed | plain Supervise / a tiny parent
func layers(c *canvas, lines []string) error {
	const left, top, wide, gap = 12, 12, 800, 10
	y := float64(top)
	for _, line := range lines {
		boxes := split(line, "|")
		w := (wide - float64(len(boxes)-1)*gap) / float64(len(boxes))
		most := 0
		for _, box := range boxes {
			most = max(most, strings.Count(box, " / ")+1)
		}
		h := float64(most*lineHeight + 21)
		for i, box := range boxes {
			colour, text, err := cut(box, " ")
			if err != nil {
				return err
			}
			c.box(left+float64(i)*(w+gap), y, w, h, colour, true, strings.Split(text, " / ")...)
		}
		y += h + gap
	}
	return nil
}
