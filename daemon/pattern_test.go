package daemon_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fairlead-edge/fairlead/daemon"
)

func pattern(t testing.TB, s string) daemon.Pattern {
	t.Helper()
	p, err := daemon.ParsePattern(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return p
}

func TestAPatternMatchesWholeSegments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, yes, no string
	}{
		{"/**", "/ /a /a/b /a/ //", ""},
		{"/", "/", "/a"},
		{"/v1", "/v1", "/v1/ /v1/a /v2 /"},
		{"/v1/**", "/v1 /v1/ /v1/a /v1/a/b", "/v11 /v2/a /"},
		{"/v1/*", "/v1/a", "/v1 /v1/ /v1/a/b"},
		{"prices/*", "prices/a", "prices prices/a/b other/a"},
		{"/**/end", "/end /a/end /a/b/end /end/end", "/end/a /a"},
		{"/a/**/b/**/c", "/a/b/c /a/x/b/y/z/c /a/b/b/c", "/a/c /a/b/c/d"},
		{"/*/x/**", "/a/x /a/x/y", "/x /a/y"},
	} {
		p := pattern(t, c.pattern)
		for name := range strings.FieldsSeq(c.yes) {
			if !p.Match(name) {
				t.Errorf("%s does not match %s", c.pattern, name)
			}
		}
		for name := range strings.FieldsSeq(c.no) {
			if p.Match(name) {
				t.Errorf("%s matches %s", c.pattern, name)
			}
		}
	}
}

func TestTheMoreSpecificPatternComesFirst(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{"/v1/chat", "/v1/*"}, {"/v1/*", "/v1/**"}, {"/v1/**", "/**"}, {"/v1", "/v1/**"},
		{"/a/**/b", "/a/**"}, {"/*/b", "/**"}, {"/a/*", "/*/b"}, {"/a/*/c", "/a/*/**"}, {"/*", "/*/**"},
	} {
		p, q := pattern(t, c[0]), pattern(t, c[1])
		if p.Compare(q) >= 0 || q.Compare(p) <= 0 || p.Compare(pattern(t, c[0])) != 0 {
			t.Errorf("%s does not come before %s", c[0], c[1])
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"/v1/**\n/v1/a", "**/a/**/b\na/a/b", "a/*\na/b", "/\n/", "a//b\n", "**/**\nx"} {
		p, name, _ := strings.Cut(s, "\n")
		f.Add(p, name)
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		p, err := daemon.ParsePattern(text)
		if err != nil {
			return
		}
		again, err := daemon.ParsePattern("/" + p.String())
		if err != nil || again.Compare(p) != 0 {
			t.Fatalf("%q does not read back: %v", text, err)
		}
		if len(text)*len(name) > 400 || !utf8.ValidString(name) { // what the expression below is not for
			p.Match(name)
			return
		}
		if want := expression(p).MatchString("/" + strings.TrimPrefix(name, "/")); p.Match(name) != want {
			t.Errorf("%q matches %q: %v, want %v", text, name, p.Match(name), want)
		}
	})
}

// expression says the same as p in the language of another matcher.
func expression(p daemon.Pattern) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)^`)
	for seg := range strings.SplitSeq(p.String(), "/") {
		switch seg {
		case "*":
			b.WriteString(`/[^/]+`)
		case "**":
			b.WriteString(`(?:/[^/]*)*`)
		default:
			b.WriteString("/" + regexp.QuoteMeta(seg))
		}
	}
	b.WriteString(`$`)
	return regexp.MustCompile(b.String())
}
