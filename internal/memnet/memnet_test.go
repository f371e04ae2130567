package memnet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/internal/memnet"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestAServersTimeIsSimulated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memnet.Serve(t, &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(time.Hour)
				_, _ = io.WriteString(w, r.Host+r.URL.Path)
			}),
			ReadHeaderTimeout: time.Second,
		}, nil)
		began := time.Now()
		resp, err := s.Client.Get("http://any.test/path")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if string(text) != "any.test/path" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		if took := time.Since(began); took != time.Hour {
			t.Errorf("it took %v", took)
		}
	})
}

func TestTheEndOfATestBreaksWhatIsConnected(t *testing.T) {
	var left net.Conn
	t.Run("while a connection is open", func(t *testing.T) {
		s := memnet.Serve(t, &http.Server{ReadHeaderTimeout: time.Minute}, &http.Transport{DisableKeepAlives: true})
		var err error
		if left, err = s.Dial(t.Context(), "", ""); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(left, "GET "); err != nil { // the server has it
			t.Fatal(err)
		}
	})
	if _, err := left.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("Read: %v", err)
	}
}

func TestAWriteWaitsForItsReaderUpToTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		defer n.Close()
		accepted := make(chan net.Conn, 1)
		go func() {
			c, err := n.Accept()
			if err != nil {
				t.Error(err)
			}
			accepted <- c
		}()
		ours, err := n.Dial(t.Context(), "tcp", "any.test:80")
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close()
		theirs := <-accepted
		defer theirs.Close()
		_ = ours.SetWriteDeadline(time.Now().Add(time.Minute))
		began := time.Now()
		if _, err := io.WriteString(ours, "x"); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestADialThatNobodyAcceptsEndsWithItsContextOrTheNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		why := errors.New("changed my mind")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, why)
		defer cancel()
		if _, err := n.Dial(ctx, "", ""); !errors.Is(err, why) {
			t.Errorf("Dial: %v", err)
		}
		failed := make(chan error, 1)
		go func() {
			_, err := n.Dial(t.Context(), "", "")
			failed <- err
		}()
		synctest.Wait()
		for range 2 {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Dial of a closed network: %v", err)
		}
		if _, err := n.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept of a closed network: %v", err)
		}
	})
}
