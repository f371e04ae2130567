package capture

import (
	"io"
	"testing"
)

func TestABodyThatWasSentIsForgotten(t *testing.T) {
	t.Parallel()
	k := &keptBody{bytes: []byte("body")}
	if sent, err := io.ReadAll(k.reader()); string(sent) != "body" || err != nil {
		t.Errorf("%q, %v", sent, err)
	}
	if again, err := io.ReadAll(k.reader()); string(again) != "body" || err != nil {
		t.Errorf("a second time %q, %v", again, err)
	}
	k.forget()
	if k.content() != nil {
		t.Error("it is kept after the response began")
	}
	early := &keptBody{bytes: []byte("body")}
	early.forget() // the response came while the body was still being sent
	if sent, err := io.ReadAll(early.reader()); string(sent) != "body" || err != nil || early.content() != nil {
		t.Errorf("%q, %v", sent, err)
	}
}
