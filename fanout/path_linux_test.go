package fanout_test

import (
	"bytes"
	"testing"

	"github.com/fairlead-edge/fairlead/fanout"
)

func TestThePathToAReaderThatDoesNotReadIsKnownAndAnswers(t *testing.T) {
	e := engine(t, fanout.Config{})
	log := new(journal)
	r := newReader(log)
	if _, ok := r.Path(); ok {
		t.Error("there is a path before there is a connection")
	}
	client, server := dial(t, listener(t))
	if err := e.Add(&r.Conn, fanout.Taken{Conn: server}, r, nil); err != nil {
		t.Fatal(err)
	}
	frame := bytes.Repeat([]byte("x"), 64<<10)
	log.publish(frame)
	expect(t, client, string(frame))
	for range 500 { // 32 MiB, which no kernel's buffers hold
		log.publish(frame)
	}
	eventually(t, "bytes that wait", func() bool { return r.Stats().Buffered > 0 })
	if p, ok := r.Path(); !ok || p.RTT <= 0 || p.Unanswered != 0 {
		t.Errorf("the path is %+v, %v", p, ok)
	}
	client.Close()
	eventually(t, "its end", func() bool { _, ok := r.Path(); return !ok })
}
