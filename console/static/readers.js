// The readers of the demonstration: each reads the prices in one way for as long as
// the page is open, tells told.open, told.event(price) and told.broke, and comes back.

const pause = ms => new Promise(done => setTimeout(done, ms));
const again = 250; // ms until a reader whose page decides comes back

// eventSource comes back by itself, with the last id if there is one.
function eventSource(url, told) {
  const source = new EventSource(url);
  source.onopen = told.open;
  source.onmessage = event => told.event(JSON.parse(event.data));
  source.onerror = () => {
    told.broke();
    if (source.readyState === EventSource.CLOSED) setTimeout(() => eventSource(url, told), again); // an answer that is none
  };
}

function webSocket(url, told, after = 'latest') {
  const address = new URL(`${url}?after=${encodeURIComponent(after)}`, location.href);
  address.protocol = address.protocol.replace('http', 'ws');
  const socket = new WebSocket(address);
  socket.onopen = told.open;
  socket.onmessage = message => {
    const said = JSON.parse(message.data);
    const envelope = said.event ?? said;
    if (!('data' in envelope)) return;
    after = envelope.cursor;
    told.event(envelope.data);
  };
  socket.onclose = () => {
    told.broke();
    setTimeout(() => webSocket(url, told, after), again);
  };
}

async function longPoll(url, told) {
  for (let after = 'latest'; ;) {
    try {
      const response = await fetch(`${url}?wait=20&after=${encodeURIComponent(after)}`, { headers: { Accept: 'application/json' } });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const page = await response.json();
      told.open();
      after = page.next;
      for (const envelope of page.events) told.event(envelope.data);
    } catch {
      told.broke();
      await pause(again);
    }
  }
}

// frame is a message as the streaming calls of Connect have it: flags, length, JSON.
function frame(message) {
  const text = new TextEncoder().encode(JSON.stringify(message));
  const whole = new Uint8Array(5 + text.length);
  new DataView(whole.buffer).setUint32(1, text.length);
  whole.set(text, 5);
  return whole;
}

// frames yields the messages of such a stream, and throws when its end says why.
async function* frames(body) {
  const reader = body.getReader();
  let rest = new Uint8Array();
  for (;;) {
    while (rest.length >= 5) {
      const end = 5 + new DataView(rest.buffer, rest.byteOffset).getUint32(1);
      if (rest.length < end) break;
      const message = JSON.parse(new TextDecoder().decode(rest.subarray(5, end)));
      if (rest[0] & 2) throw new Error(message.error?.message ?? 'the stream ended');
      rest = rest.subarray(end);
      yield message;
    }
    const { value, done } = await reader.read();
    if (done) throw new Error('the stream broke');
    const both = new Uint8Array(rest.length + value.length);
    both.set(rest);
    both.set(value, rest.length);
    rest = both;
  }
}

async function connect(url, told) {
  for (let after = 'latest'; ;) {
    try {
      const response = await fetch(url, {
        method: 'POST', headers: { 'Content-Type': 'application/connect+json', 'Connect-Protocol-Version': '1' },
        body: frame({ topic: 'demo/prices', after }),
      });
      if (!response.ok) throw new Error(`status ${response.status}`);
      told.open();
      for await (const message of frames(response.body)) {
        after = message.cursor;
        if (message.event) told.event(JSON.parse(atob(message.event.data)));
      }
    } catch {
      told.broke();
      await pause(again);
    }
  }
}

const topic = 'topics/demo/prices';

// readers are by the names of their cables.
export const readers = {
  sse: { name: 'EventSource', read: (at, told) => eventSource(`${at}/${topic}`, told) },
  websocket: { name: 'WebSocket', read: (at, told) => webSocket(`${at}/${topic}`, told) },
  poll: { name: 'Long poll', read: (at, told) => longPoll(`${at}/${topic}`, told) },
  connect: { name: 'Connect', read: (at, told) => connect(`${at}/fairlead.v1.Topics/Subscribe`, told) },
  plain: { name: 'Plain proxy', plain: true, read: (at, told) => eventSource(`${at}/demo/live`, told) },
};
