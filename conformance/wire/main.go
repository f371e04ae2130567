// Command wire counts what a message costs on the wire, by transport: the bytes
// that TCP carries both ways for one more message, and those of opening the
// connection. It starts Fairlead's program and is its only client.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fairlead-edge/fairlead/websocket"
)

// messages is how many of each size are sent: enough that what comes now and
// then, such as a window update of HTTP/2, is shared out.
const messages = 200

// longest bounds a run, whatever hangs.
const longest = 2 * time.Minute

func main() {
	program := flag.String("fairlead", "bin/fairlead", "Fairlead's program")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	err := run(ctx, *program, os.Stdout)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "wire:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, program string, out io.Writer) error {
	base, stop, err := serve(ctx, program)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Fprintln(out, "| transport | opening | a message of 20 B | of 200 B | beyond the message |\n| --- | --- | --- | --- | --- |")
	for _, t := range transports {
		var cost [2]float64
		opening := int64(0)
		for i, size := range []int{20, 200} {
			one, err := measure(ctx, t, base, fmt.Sprintf("wire/%d/%d", time.Now().UnixNano(), size), size)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			cost[i], opening = one.each, one.opening
		}
		fmt.Fprintf(out, "| %s | %d | %.0f | %.0f | %.0f |\n", t.name, opening, cost[0], cost[1], cost[1]-200)
	}
	return nil
}

// serve starts the program on free ports.
func serve(ctx context.Context, program string) (base string, stop func(), err error) {
	cmd := exec.CommandContext(ctx, program, "serve", "--http", "127.0.0.1:0", "--admin", "")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // how it ends is not what is measured
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "http "); ok {
			base = url
		}
		if lines.Text() == "ready" {
			return base, stop, nil
		}
	}
	stop()
	return "", nil, fmt.Errorf("%s did not start", program)
}

// cost is in bytes, both ways, without the headers of TCP and IP.
type cost struct {
	opening int64 // until the first message could come
	each    float64
}

// transport opens a way to read a topic; receive returns once the next message
// is there.
type transport struct {
	name string
	open func(ctx context.Context, dial dialer, base, topic string) (receive func() (string, error), stop func(), err error)
	// polls: a message costs a request, made when it is there
	polls bool
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

func measure(ctx context.Context, t transport, base, topic string, size int) (cost, error) {
	text := strings.Repeat("x", size)
	if err := publish(ctx, base, topic, text); err != nil { // creates the topic
		return cost{}, err
	}
	var carried atomic.Int64
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		return &counted{c, &carried}, err
	}
	receive, stop, err := t.open(ctx, dial, base, topic)
	if err != nil {
		return cost{}, err
	}
	defer stop()
	opening := carried.Load()
	for range messages {
		if err := publish(ctx, base, topic, text); err != nil {
			return cost{}, err
		}
		got, err := receive()
		if err != nil || got != text {
			return cost{}, fmt.Errorf("received %q: %w", got, err)
		}
	}
	if t.polls {
		opening = 0 // each request is one
	}
	return cost{opening, float64(carried.Load()-opening) / messages}, nil
}

func publish(ctx context.Context, base, topic, text string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/topics/"+topic, strings.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/plain")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusCreated {
		return fmt.Errorf("publish: %s, %w", res.Status, err)
	}
	return nil
}

type counted struct {
	net.Conn

	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.n.Add(int64(n))
	return n, err
}

var transports = []transport{
	{"poll, HTTP/1.1", poll(false, ""), true},
	{"long-poll, HTTP/1.1", poll(false, "&wait=10"), true},
	{"long-poll, HTTP/2", poll(true, "&wait=10"), true},
	{"SSE, HTTP/1.1", events(false), false},
	{"SSE, HTTP/2", events(true), false},
	{"WebSocket, HTTP/1.1", socket, false},
}

// browser is what Chromium sends with each request of a page.
var browser = map[string]string{
	"User-Agent":         "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
	"Accept-Language":    "en-US,en;q=0.9",
	"Accept-Encoding":    "identity", // so that a size is a size
	"Cache-Control":      "no-cache",
	"Sec-Fetch-Site":     "same-origin",
	"Sec-Fetch-Mode":     "cors",
	"Sec-Fetch-Dest":     "empty",
	"Sec-Ch-Ua":          `"Chromium";v="156", "Not=A?Brand";v="24"`,
	"Sec-Ch-Ua-Mobile":   "?0",
	"Sec-Ch-Ua-Platform": `"Linux"`,
}

func client(dial dialer, h2 bool) (*http.Client, func()) {
	t := &http.Transport{DialContext: dial, Protocols: new(http.Protocols)}
	t.Protocols.SetHTTP1(!h2)
	t.Protocols.SetUnencryptedHTTP2(h2)
	return &http.Client{Transport: t}, t.CloseIdleConnections
}

func get(ctx context.Context, c *http.Client, address, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	for name, value := range browser {
		req.Header.Set(name, value)
	}
	req.Header.Set("Accept", accept)
	res, err := c.Do(req)
	if err == nil && res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		err = fmt.Errorf("%s: %s", address, res.Status)
	}
	return res, err
}

// poll asks for the next page when a message is there: the best that polling
// can do.
func poll(h2 bool, query string) func(context.Context, dialer, string, string) (func() (string, error), func(), error) {
	return func(ctx context.Context, dial dialer, base, topic string) (func() (string, error), func(), error) {
		c, stop := client(dial, h2)
		after := ""
		next := func(query string) ([]string, error) {
			res, err := get(ctx, c, base+"/topics/"+topic+"?after="+url.QueryEscape(after)+query, "application/json")
			if err != nil {
				return nil, err
			}
			defer res.Body.Close()
			var page struct {
				Events []struct {
					Data string `json:"data"`
				} `json:"events"`
				Next string `json:"next"`
			}
			if err := json.NewDecoder(res.Body).Decode(&page); err != nil {
				return nil, err
			}
			_, _ = io.Copy(io.Discard, res.Body)
			after = page.Next
			var data []string
			for _, e := range page.Events {
				data = append(data, e.Data)
			}
			return data, nil
		}
		after = "latest"
		if _, err := next(""); err != nil {
			return nil, stop, err
		}
		return func() (string, error) {
			data, err := next(query)
			return strings.Join(data, "\n"), err
		}, stop, nil
	}
}

func events(h2 bool) func(context.Context, dialer, string, string) (func() (string, error), func(), error) {
	return func(ctx context.Context, dial dialer, base, topic string) (func() (string, error), func(), error) {
		c, stop := client(dial, h2)
		res, err := get(ctx, c, base+"/topics/"+topic, "text/event-stream") //nolint:bodyclose // by what is returned
		if err != nil {
			return nil, stop, err
		}
		lines := bufio.NewScanner(res.Body)
		for lines.Scan() && lines.Text() != "" { // the first block has the id to begin with
		}
		return func() (string, error) {
			for lines.Scan() {
				if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
					lines.Scan() // the end of the event
					return data, nil
				}
			}
			return "", io.ErrUnexpectedEOF
		}, func() { _ = res.Body.Close(); stop() }, nil
	}
}

func socket(ctx context.Context, dial dialer, base, topic string) (func() (string, error), func(), error) {
	header := make(http.Header)
	for name, value := range browser {
		header.Set(name, value)
	}
	header.Set("Origin", base)
	c, _, err := websocket.Dial(ctx, base+"/topics/"+topic, websocket.DialConfig{Header: header, NetDial: dial}) //nolint:bodyclose // it is in memory
	if err != nil {
		return nil, func() {}, err
	}
	return func() (string, error) {
		_, message, err := c.Read()
		if err != nil {
			return "", err
		}
		var envelope struct {
			Data string `json:"data"`
		}
		if err := json.Unmarshal(message, &envelope); err != nil {
			return "", err
		}
		return envelope.Data, nil
	}, func() { _ = c.CloseNow() }, nil
}
