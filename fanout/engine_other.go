//go:build !linux

package fanout

// Engine serves connections whose descriptors it has taken. Here there is none.
type Engine struct{}

// flow is what an engine keeps of a connection.
type flow struct{}

// New returns an engine that takes no connection: this system has none.
func New(Config) *Engine { return new(Engine) }

// Add returns ErrNoDescriptor.
func (*Engine) Add(*Conn, Taken, Session, *Options) error { return ErrNoDescriptor }

// Stats returns zeros.
func (*Engine) Stats() EngineStats { return EngineStats{} }

// Close does nothing.
func (*Engine) Close() error { return nil }
