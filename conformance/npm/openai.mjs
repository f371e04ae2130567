// Streams one chat completion and prints each chunk, then how it ended.
//   node openai.mjs BASE_URL [IDEMPOTENCY_KEY]
import OpenAI from 'openai';

const [baseURL, key] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: 'a-test-key', maxRetries: 0 });
const print = (value) => console.log(JSON.stringify(value));
try {
  const stream = await client.chat.completions.create(
    { model: 'test', stream: true, messages: [{ role: 'user', content: 'Say something long.' }] },
    key ? { headers: { 'Idempotency-Key': key } } : {},
  );
  for await (const chunk of stream) print({ chunk });
  print({ ended: 'clean' });
} catch (error) {
  print({ ended: 'error', error: String(error) });
}
