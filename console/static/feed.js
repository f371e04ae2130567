// The stream of snapshots, read by fetch, since an EventSource could not send a token.

const key = 'fairlead-admin-token';

export const token = {
  get: () => sessionStorage.getItem(key) ?? '',
  set: value => sessionStorage.setItem(key, value),
};

export function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (token.get()) headers.set('Authorization', `Bearer ${token.get()}`);
  return fetch(path, { ...options, headers });
}

// lines yields the data of each event, which is one line.
async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      for (let end; (end = rest.indexOf('\n')) >= 0; rest = rest.slice(end + 1)) {
        const line = rest.slice(0, end);
        if (line.startsWith('data: ')) yield line.slice(6);
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // or its connection would stay
  }
}

const pause = ms => new Promise(done => setTimeout(done, ms));

// follow calls on.data for each snapshot, for ever; on.lost and on.forbidden in between,
// and on.broken with what on.data throws.
export async function follow(on) {
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    try {
      const response = await ask('console/feed', { headers: { Accept: 'text/event-stream' } });
      if (response.status === 401) {
        await on.forbidden();
        wait = 250;
        continue;
      }
      if (!response.ok) throw new Error(`the server answers ${response.status}`);
      for await (const text of lines(response.body)) {
        wait = 250;
        const snapshot = JSON.parse(text);
        try {
          on.data(snapshot);
        } catch (why) {
          on.broken(why);
        }
      }
      throw new Error('the stream ended');
    } catch (why) {
      on.lost(why);
    }
    await pause(wait);
  }
}
