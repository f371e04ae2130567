// Opens a WebSocket, sends some messages and prints each that arrives.
//   node ws.mjs URL [SUBPROTOCOL [MESSAGE...]]
import WebSocket from 'ws';

const [url, protocol, ...messages] = process.argv.slice(2);
const socket = new WebSocket(url, protocol ? [protocol] : []);
const print = (value) => console.log(JSON.stringify(value));
socket.on('open', () => {
  print({ open: socket.protocol });
  for (const message of messages) socket.send(message);
});
socket.on('message', (data, isBinary) => print(isBinary ? { binary: data.length } : JSON.parse(data)));
socket.on('close', (code) => print({ close: code }));
socket.on('error', (error) => console.error(String(error)));
process.on('SIGTERM', () => process.exit(0));
