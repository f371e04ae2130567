// The module of tests with foreign clients: nothing here reaches users.
module github.com/fairlead-edge/fairlead/conformance

go 1.26.0

require github.com/fairlead-edge/fairlead v0.0.0

require go.uber.org/goleak v1.3.0 // indirect

replace github.com/fairlead-edge/fairlead => ../
