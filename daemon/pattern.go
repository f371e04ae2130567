package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Pattern matches names that are segments separated by "/": topics and the
// paths of routes. "*" stands for one segment that is not empty, "**" for any
// number of segments, none included.
type Pattern struct{ segments []string }

const (
	anyOne  = "*"
	anyMany = "**"
	// maxPattern bounds a pattern, in bytes: no path of a request is longer
	// than the header it comes in, and no topic's name than 255.
	maxPattern = 1024
)

// ParsePattern reads a pattern. A leading slash is not part of any segment,
// so that "/v1/*" and "v1/*" are equal.
func ParsePattern(s string) (Pattern, error) {
	rest := strings.TrimPrefix(s, "/")
	switch {
	case s == "":
		return Pattern{}, errors.New("the pattern is empty")
	case len(s) > maxPattern:
		return Pattern{}, fmt.Errorf("the pattern is %d bytes long; at most %d are allowed", len(s), maxPattern)
	case !utf8.ValidString(s):
		return Pattern{}, errors.New("the pattern is not valid UTF-8")
	}
	segments := strings.Split(rest, "/")
	for i, seg := range segments {
		switch {
		case seg == "" && i < len(segments)-1:
			return Pattern{}, errors.New("the pattern has an empty segment: write one / between segments")
		case seg == "." || seg == "..":
			return Pattern{}, fmt.Errorf("the pattern has the segment %q, which no path keeps", seg)
		case strings.Contains(seg, "*") && seg != anyOne && seg != anyMany:
			return Pattern{}, fmt.Errorf("%q: a wildcard stands for whole segments: use * for one, ** for any number", seg)
		case strings.ContainsAny(seg, "?#"):
			return Pattern{}, fmt.Errorf("%q: patterns match paths and names, without query or fragment", seg)
		case i > 0 && seg == anyMany && segments[i-1] == anyMany:
			return Pattern{}, errors.New("** beside ** says no more than one **")
		}
	}
	return Pattern{segments}, nil
}

// String returns the pattern without a leading slash.
func (p Pattern) String() string { return strings.Join(p.segments, "/") }

// Match reports whether the pattern stands for name, whose leading slash does
// not count.
func (p Pattern) Match(name string) bool {
	segs := strings.Split(strings.TrimPrefix(name, "/"), "/")
	// Try the shortest run for the latest "**", and one segment more each time
	// the rest does not fit: at most len(segs) × len(pattern) comparisons.
	i, j, retry, many := 0, 0, -1, -1
	for i < len(segs) {
		switch {
		case j < len(p.segments) && p.segments[j] == anyMany:
			retry, many = i, j
			j++
		case j < len(p.segments) && matchOne(p.segments[j], segs[i]):
			i++
			j++
		case many >= 0:
			retry++
			i, j = retry, many+1
		default:
			return false
		}
	}
	return j == len(p.segments) || j == len(p.segments)-1 && p.segments[j] == anyMany
}

func matchOne(pattern, segment string) bool {
	return pattern == segment || pattern == anyOne && segment != ""
}

// Compare orders patterns by how specific they are, the more specific first:
// at the first segment in which they differ a literal comes before "*", and
// that before "**"; of two that do not differ the longer comes first, unless
// the other ends there for good.
func (p Pattern) Compare(q Pattern) int {
	for i := range min(len(p.segments), len(q.segments)) {
		if c := cmp.Compare(rank(p.segments[i]), rank(q.segments[i])); c != 0 {
			return c
		}
	}
	switch {
	case len(p.segments) == len(q.segments):
		return strings.Compare(p.String(), q.String())
	case len(p.segments) > len(q.segments):
		return -q.Compare(p)
	case q.segments[len(p.segments)] == anyMany && !slices.Contains(p.segments, anyMany):
		return -1
	}
	return 1
}

func rank(segment string) int {
	switch segment {
	case anyOne:
		return 1
	case anyMany:
		return 2
	}
	return 0
}

// isLiteral reports whether the pattern has no wildcard.
func (p Pattern) isLiteral() bool {
	return !slices.Contains(p.segments, anyOne) && !slices.Contains(p.segments, anyMany)
}

// ruled is what a pattern decides about.
type ruled[T any] struct {
	pattern Pattern
	value   T
}

// rules finds the value of the most specific pattern that matches.
type rules[T any] []ruled[T]

// newRules orders the rules once, so that the first match is the answer.
func newRules[T any](all []ruled[T]) rules[T] {
	return slices.SortedStableFunc(slices.Values(all), func(a, b ruled[T]) int { return a.pattern.Compare(b.pattern) })
}

func (r rules[T]) find(name string) (value T, ok bool) {
	for i := range r {
		if r[i].pattern.Match(name) {
			return r[i].value, true
		}
	}
	return value, false
}
