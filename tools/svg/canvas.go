package main

import (
	"errors"
	"fmt"
	"html"
	"math"
	"strings"
	"unicode/utf8"
)

// canvas collects the elements of a picture, and how far they reach.
type canvas struct {
	body          strings.Builder
	width, height float64
	wrong         error // a text that does not fit
}

// The classes are fixed colours twice, for viewers that know no CSS variables.
const (
	light = `.ink{fill:#1f2328}.soft{fill:#59636e}.line{stroke:#6e7781}.head{fill:#6e7781}.rule{stroke:#d1d9e0}
.plain{fill:#f6f8fa;stroke:#afb8c1}.blue{fill:#ddf4ff;stroke:#54aeff}.green{fill:#dafbe1;stroke:#4ac26b}.amber{fill:#fff8c5;stroke:#d4a72c}.red{fill:#ffebe9;stroke:#ff8182}`
	dark = `.ink{fill:#f0f6fc}.soft{fill:#9198a1}.line{stroke:#9198a1}.head{fill:#9198a1}.rule{stroke:#3d444d}
.plain{fill:#151b23;stroke:#656c76}.blue{fill:#121d2f;stroke:#388bfd}.green{fill:#12261e;stroke:#2ea043}.amber{fill:#272115;stroke:#bb8009}.red{fill:#25171c;stroke:#f85149}`
	always = `text{font:13px system-ui,-apple-system,"Segoe UI","Noto Sans",Helvetica,Arial,sans-serif}text.bold{font-weight:600;font-size:14px}
.line,.rule{fill:none;stroke-width:1.5}.dash{stroke-dasharray:5 4}.thin{stroke-width:1}rect{stroke-width:1.5}`
)

const lineHeight = 17

func (c *canvas) svg(title, alt string) []byte {
	w, h := math.Ceil(c.width), math.Ceil(c.height)
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" role="img" aria-labelledby="title desc">
<title id="title">%s</title>
<desc id="desc">%s</desc>
<style>
%s
%s
@media (prefers-color-scheme:dark){
%s
}
</style>
%s</svg>
`, w, h, w, h, html.EscapeString(title), html.EscapeString(alt), always, light, dark, c.body.String())
}

// reach makes the picture at least as large as to show that point, with a margin.
func (c *canvas) reach(x, y float64) {
	const margin = 12
	c.width, c.height = max(c.width, x+margin), max(c.height, y+margin)
}

// textWidth is about how wide a text is, in a wide font.
func textWidth(text, class string) float64 {
	per := 7.1
	if strings.Contains(class, "bold") {
		per = 8.2
	}
	return per * float64(utf8.RuneCountInString(text))
}

// r rounds, so that a picture is the same whatever processor draws it: some fuse a multiplication with an addition.
func r(x float64) float64 { return math.Round(10*x) / 10 }

// text writes a text with its baseline at y. anchor is start, middle or end.
func (c *canvas) text(x, y float64, text, class, anchor string) {
	left, right := x, x+textWidth(text, class)
	switch anchor {
	case "middle":
		left, right = x-textWidth(text, class)/2, x+textWidth(text, class)/2
	case "end":
		left, right = x-textWidth(text, class), x
	}
	if left < 0 {
		c.wrong = errors.Join(c.wrong, fmt.Errorf("%q does not fit on the left", text))
	}
	fmt.Fprintf(&c.body, `<text x="%g" y="%g" class="%s" text-anchor="%s">%s</text>`+"\n", r(x), r(y), class, anchor, html.EscapeString(text))
	c.reach(right, y+4)
}

// box is a rectangle with lines of text in its middle, the first of them bold if title is true.
func (c *canvas) box(x, y, w, h float64, class string, title bool, lines ...string) {
	fmt.Fprintf(&c.body, `<rect x="%g" y="%g" width="%g" height="%g" rx="6" class="%s"/>`+"\n", r(x), r(y), r(w), r(h), class)
	c.reach(x+w, y+h)
	at := y + h/2 - float64(len(lines)-1)*lineHeight/2 + 4.5
	for i, line := range lines {
		class := "ink"
		if title {
			class = "soft"
			if i == 0 {
				class = "ink bold"
			}
		}
		if textWidth(line, class) > w-6 {
			c.wrong = errors.Join(c.wrong, fmt.Errorf("%q does not fit into its box", line))
		}
		c.text(x+w/2, at+float64(i)*lineHeight, line, class, "middle")
	}
}

type point struct{ x, y float64 }

// line joins points; class is "line" or "rule" and more.
func (c *canvas) line(class string, points ...point) {
	var d strings.Builder
	for i, p := range points {
		fmt.Fprintf(&d, "%c%g %g", "ML"[min(i, 1)], r(p.x), r(p.y))
		c.reach(p.x, p.y)
	}
	fmt.Fprintf(&c.body, `<path d="%s" class="%s"/>`+"\n", d.String(), class)
}

// arrow is a line with a head at its end.
func (c *canvas) arrow(class string, points ...point) {
	const long, half = 9, 4.5
	to, from := points[len(points)-1], points[len(points)-2]
	length := math.Hypot(to.x-from.x, to.y-from.y)
	dx, dy := (to.x-from.x)/length, (to.y-from.y)/length
	base := point{to.x - long*dx, to.y - long*dy}
	points[len(points)-1] = point{base.x + dx, base.y + dy}
	c.line(class, points...)
	fmt.Fprintf(&c.body, `<path d="M%g %gL%g %gL%g %gZ" class="head"/>`+"\n",
		r(to.x), r(to.y), r(base.x-half*dy), r(base.y+half*dx), r(base.x+half*dy), r(base.y-half*dx))
	c.reach(to.x, to.y)
}
