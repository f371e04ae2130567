package websocket

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/gobwas/ws"
)

// Close performs the close handshake (RFC 6455 §7): it sends code and reason,
// waits for the peer's close frame for at most [Config.CloseTimeout], throwing
// away what else arrives, and closes the stream. It may run beside Read, Write
// and other Closes. [NoStatus] sends no code; a reason over 123 bytes is cut.
// The error is an invalid code, or the stream's when the close could not be
// sent; a peer that does not answer is none.
func (c *Conn) Close(code int, reason string) error {
	if code != NoStatus && !ValidCloseCode(code) {
		return fmt.Errorf("websocket: close: %d may not be sent: use 1000, 1001, 1008, 1011 to 1014 or 3000 to 4999", code)
	}
	stop := c.closeLater()
	defer stop()
	err := c.write(ws.OpClose, 0, closePayload(code, reason))
	if err == nil || errors.Is(err, errClosed) {
		c.reading <- struct{}{}
		if c.readErr == nil {
			skipToClose(c.br, c.unread)
			c.readErr = fmt.Errorf("websocket: read: %w", net.ErrClosed)
		}
		<-c.reading
		err = nil
	}
	c.closeStream()
	return err
}

// CloseNow closes the stream without a close handshake: the peer sees
// [AbnormalClosure]. It returns the stream's error.
func (c *Conn) CloseNow() error {
	c.closeStream()
	return c.closeErr
}

func (c *Conn) closeStream() {
	c.closeOnce.Do(func() {
		if err := c.rwc.Close(); err != nil {
			c.closeErr = fmt.Errorf("websocket: close: %w", err)
		}
	})
}

// closeLater closes the stream after CloseTimeout unless stopped, which frees
// whoever waits for the peer.
func (c *Conn) closeLater() (stop func() bool) {
	return time.AfterFunc(c.cfg.CloseTimeout, c.closeStream).Stop
}

// echo answers the peer's close with its own code, and closes the stream: both
// halves of the handshake are done (RFC 6455 §5.5.1).
func (c *Conn) echo(closed *CloseError) {
	stop := c.closeLater()
	defer stop()
	// The peer is leaving: a reply that fails changes nothing.
	_ = c.write(ws.OpClose, 0, closePayload(closed.Code, ""))
	c.closeStream()
}

// fail tells the peer why and closes the stream once the peer has had time to
// read it (RFC 6455 §7.1.7): a TCP stream closed with unread input is reset,
// and the reset can overtake the close frame.
func (c *Conn) fail(broken *ProtocolError) {
	stop := c.closeLater()
	defer stop()
	if err := c.write(ws.OpClose, 0, closePayload(broken.Code, broken.Reason)); err == nil {
		skipToClose(bufio.NewReaderSize(&paced{from: c.br}, readBuffer), c.unread)
	}
	c.closeStream()
}

// What a peer still sends that broke a rule is thrown away at 1.3 MB/s, and so
// at most 6.5 MB within the default CloseTimeout: enough for an honest one whose
// message is too large, while one that floods waits.
const (
	paceBytes = 64 << 10
	paceTime  = 50 * time.Millisecond
)

// paced is a stream that is read at that pace.
type paced struct {
	from io.Reader
	read int // since the last wait
}

func (p *paced) Read(b []byte) (int, error) {
	if p.read >= paceBytes {
		time.Sleep(paceTime)
		p.read = 0
	}
	n, err := p.from.Read(b)
	p.read += n
	return n, err
}
