package compress

import (
	"strconv"
	"strings"
)

// accepted is what an Accept-Encoding field says (RFC 9110 §12.5.3): a weight
// from 0 to 1 for each coding that it names.
type accepted struct {
	names    [maxAccepted]string
	weights  [maxAccepted]float64
	n        int
	other    float64 // of "*"
	hasOther bool
	identity float64
}

// maxAccepted is how many codings are remembered: no client knows as many.
const maxAccepted = 16

func parseAccept(lines []string) accepted {
	a := accepted{identity: -1}
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(member, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			q := weight(params)
			switch name {
			case "":
			case "*":
				a.other, a.hasOther = q, true
			case "identity":
				a.identity = q
			default:
				if name == "x-gzip" { // RFC 9110 §8.4.1.3
					name = gzipName
				}
				if a.n < maxAccepted {
					a.names[a.n], a.weights[a.n] = name, q
					a.n++
				}
			}
		}
	}
	if a.identity < 0 { // it is acceptable unless it is excluded
		a.identity = 0.001 // the least there is, so that any coding is preferred
		if a.hasOther {
			a.identity = a.other
		}
	}
	return a
}

// weight reads the parameter q; one that cannot be read excludes nothing and
// prefers nothing.
func weight(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) { //nolint:staticcheck // NaN is neither
			return 0.001
		}
		return q
	}
	return 1
}

// of returns the weight of a coding; 0: it is not acceptable.
func (a *accepted) of(name string) float64 {
	for i := range a.n {
		if a.names[i] == name {
			return a.weights[i]
		}
	}
	if a.hasOther {
		return a.other
	}
	return 0
}

// best returns the coding with the greatest weight, of equal ones the first in
// order, or nil when identity is preferred to all of them.
func (a *accepted) best(order []*codec) *codec {
	var found *codec
	q := 0.0
	for _, c := range order {
		if w := a.of(c.name); w > q {
			found, q = c, w
		}
	}
	if a.identity > q {
		return nil
	}
	return found
}
