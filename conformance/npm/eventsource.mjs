// Prints each event that npm's EventSource delivers, reconnects included.
//   node eventsource.mjs URL
import { EventSource } from 'eventsource';

const source = new EventSource(process.argv[2]);
const print = (value) => console.log(JSON.stringify(value));
source.onmessage = (e) => print({ id: e.lastEventId, data: e.data });
for (const type of ['fairlead.gap', 'fairlead.end', 'fairlead.fault', 'fairlead.draining']) {
  source.addEventListener(type, (e) => print({ type, id: e.lastEventId, data: e.data }));
}
source.onerror = (e) => {
  if (source.readyState === EventSource.CLOSED) print({ type: 'closed', status: e.code });
};
