// The module of tests with foreign clients: nothing here reaches users.
module github.com/fairlead-edge/fairlead/conformance

go 1.26.0

require github.com/fairlead-edge/fairlead v0.0.0

require (
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/gobwas/ws v1.5.0 // indirect
	go.uber.org/goleak v1.3.0 // indirect
)

replace github.com/fairlead-edge/fairlead => ../
