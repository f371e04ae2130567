# Each target only calls a script in ci/, so that they run the same by hand.
.PHONY: build test lint fuzz bench peers wire attack soak fan calls grpc proto drill

build:
	@ci/build

test:
	@ci/test

lint:
	@ci/lint

fuzz:
	@ci/fuzz

bench:
	@ci/bench

peers:
	@ci/peers

wire:
	@ci/wire

attack:
	@ci/attack

soak:
	@ci/soak

fan:
	@ci/fan

calls:
	@ci/calls

grpc:
	@ci/grpc

proto:
	@ci/proto

drill:
	@ci/drill
