/** Requests over HTTP or HTTPS with an authority of the test's own; never rejects for a status. */
import http from 'node:http';
import https from 'node:https';
import { buffer } from 'node:stream/consumers';

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}

export interface AskOptions {
  readonly method?: string;
  readonly body?: string | Buffer;
  readonly headers?: http.OutgoingHttpHeaders;
  readonly token?: string;
  /** PEM. */
  readonly ca?: string;
}

export function ask(url: string, { method = 'GET', body, headers, token, ca }: AskOptions = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = (url.startsWith('https:') ? https : http).request(
      url,
      {
        method,
        agent: false,
        headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...headers },
        ...(ca === undefined ? {} : { ca }),
      },
      (response) => {
        buffer(response).then(
          (bytes) => resolve({ status: response.statusCode ?? 0, headers: response.headers, text: bytes.toString() }),
          reject,
        );
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

/** A question to a graph: the codes of its errors, and its data. */
export async function askGraph(
  url: string,
  query: string,
  options: AskOptions = {},
): Promise<{ status: number; codes: string[]; data: unknown }> {
  const answer = await ask(url, {
    ...options,
    method: 'POST',
    headers: { 'content-type': 'application/json', ...options.headers },
    body: JSON.stringify({ query }),
  });
  const parsed = JSON.parse(answer.text) as { data?: unknown; errors?: { extensions: { code: string } }[] };
  return {
    status: answer.status,
    codes: (parsed.errors ?? []).map((error) => error.extensions.code),
    data: parsed.data,
  };
}
