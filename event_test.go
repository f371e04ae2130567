package fairlead_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fairlead-edge/fairlead"
)

func TestTopicNames(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"a":                           true,
		"prices/oil":                  true,
		"a b/ä/日本":                    true,
		"a/$b":                        true,
		"...":                         true,
		".a/b.":                       true,
		"a%2Fb":                       true,
		strings.Repeat("a", 255):      true,
		strings.Repeat("a", 256):      false,
		strings.Repeat("ä", 128):      false,
		"":                            false,
		"/":                           false,
		"/a":                          false,
		"a/":                          false,
		"a//b":                        false,
		".":                           false,
		"a/./b":                       false,
		"a/..":                        false,
		"$sys":                        false,
		"$":                           false,
		"a\x00":                       false,
		"a\nb":                        false,
		"a\x7fb":                      false,
		"a\xff":                       false,
		"\xc0\xaf":                    false,
		strings.Repeat("a/", 127):     false,
		strings.Repeat("a/", 127)[1:]: false,
	} {
		err := fairlead.CheckTopicName(name)
		if (err == nil) != ok {
			t.Errorf("%.40q: %v, want it to be allowed: %v", name, err, ok)
		}
		if err != nil && fairlead.AsError(err).Code != fairlead.InvalidArgument {
			t.Errorf("%.40q: %v has another code", name, err)
		}
	}
}

func FuzzCheckTopicName(f *testing.F) {
	for _, s := range []string{"a", "a/b", "/", "..", "$x", "a\x00", "\xff", "日本/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if fairlead.CheckTopicName(name) != nil {
			return
		}
		if len(name) == 0 || len(name) > fairlead.MaxTopicName || !utf8.ValidString(name) || strings.ContainsAny(name, "\x00\r\n") ||
			strings.Contains("/"+name+"/", "//") || strings.Contains("/"+name+"/", "/./") || strings.Contains("/"+name+"/", "/../") {
			t.Fatalf("%q is allowed", name)
		}
	})
}

func TestEventsThatCannotBeSentAreRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []fairlead.Event{
		{Type: "fairlead.gap"}, {Type: "fairlead."}, {Type: "a\nb"}, {Type: "a\rb"}, {Type: "a\x00"}, {Type: "\xff"},
		{Key: "a\nb"}, {Key: "\xff"}, {Key: strings.Repeat("k", 1025)}, {ContentType: "text/plain\r\nX: y"}, {Traceparent: "\n"},
	} {
		if err := bad.Validate(); err == nil || fairlead.AsError(err).Code != fairlead.InvalidArgument {
			t.Errorf("%+v is fit to be published: %v", bad, err)
		}
	}
	for _, good := range []fairlead.Event{
		{}, {Type: "fairlead"}, {Type: "Fairlead.gap"}, {Type: "price.fairlead.gap", Key: "ä b", Data: []byte("\x00\n\xff")}, {Key: strings.Repeat("k", 1024)},
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%v is refused: %v", &good, err)
		}
	}
}

func TestAnEventInALogRecordShowsNoData(t *testing.T) {
	t.Parallel()
	e := &fairlead.Event{Topic: "n", Cursor: "c", Type: "t", Data: []byte("secret")}
	if got := e.String(); got != `event n@c type="t" 6 bytes` {
		t.Error(got)
	}
}
