package fanout

import (
	"errors"
	"net"
	"time"
)

// Config adjusts an Engine. The zero value is ready to use.
type Config struct {
	// Shards is how many goroutines serve connections at most; there is one for
	// each 2,048 of them until there are so many. Default: GOMAXPROCS.
	Shards int
	// FlushDelay is how long events are held back after a shard has written those
	// before to its connections, so that more go into one write. Default 0: an event
	// is written at once where the engine is idle, and with all that came meanwhile
	// where it is not, which is delay enough.
	FlushDelay time.Duration
	// Workers is how many goroutines run what sessions ask for by Out.Work at most,
	// one for each that waits or runs; idle ones end. It is a bound of memory, some
	// KiB for each, not of CPU: jobs may block for long, and while so many do, the
	// others wait for their turn, who came first being the first. Their connections
	// are not read from meanwhile, but sent to. Default: 1,024.
	Workers int
}

// ErrNoDescriptor means that a connection has no descriptor that the engine
// could take, or that the system has no engine: it is for [Serve].
var ErrNoDescriptor = errors.New("fanout: the connection has no descriptor to be taken")

// Taken is a connection that an engine is to take over.
type Taken struct {
	// Conn is the connection, after its handshake. The engine takes its descriptor
	// and closes it; nobody may use it any more.
	Conn net.Conn
	// Early is what the client sent that has been read already. It is given to
	// Session.Receive first.
	Early []byte
	// First is what is to be written before anything else: the header of the
	// response.
	First []byte
}

// EngineStats say what an engine has done.
type EngineStats struct {
	Connections int // that it serves
	// Rounds of a shard: in each the connections that had something to do at its
	// beginning have one turn, or as many of them as there are in a millisecond or so.
	// Fewer of them for as many writes is less work for each.
	Rounds uint64
	Writes uint64 // to connections, of one frame or several
}
