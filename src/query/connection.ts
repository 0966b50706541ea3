/** Relay connections (GraphQL Cursor Connections Specification). Cursors are opaque; below `at` they carry the basis. */
import { GraphError } from './errors.js';

export interface Edge<Node> {
  readonly node: Node;
  readonly cursor: string;
}

export interface Connection<Node> {
  readonly edges: readonly Edge<Node>[];
  readonly nodes: readonly Node[];
  readonly pageInfo: {
    readonly hasNextPage: boolean;
    readonly hasPreviousPage: boolean;
    readonly startCursor: string | null;
    readonly endCursor: string | null;
  };
}

export interface PageArguments {
  readonly first?: number | null;
  readonly after?: string | null;
}

export const PAGE_DEFAULT = 50;
export const PAGE_MOST = 1000;

/** @throws GraphError BAD_USER_INPUT for less than 0 or more than the most */
export function pageSize(first: number | null | undefined): number {
  if (first === null || first === undefined) return PAGE_DEFAULT;
  if (!Number.isInteger(first) || first < 0 || first > PAGE_MOST) {
    throw new GraphError('BAD_USER_INPUT', `first lies between 0 and ${PAGE_MOST}`);
  }
  return first;
}

export function connectionOf<Node>(
  edges: readonly Edge<Node>[],
  hasNextPage: boolean,
  hasPreviousPage: boolean,
): Connection<Node> {
  return {
    edges,
    nodes: edges.map(({ node }) => node),
    pageInfo: {
      hasNextPage,
      hasPreviousPage,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  };
}

/** A cursor: the basis token it holds at (none outside `at`) and the key of the row. */
export function encodeCursor(token: string, key: string): string {
  return Buffer.from(`${token}~${key}`, 'utf8').toString('base64url');
}

/** @throws GraphError BAD_USER_INPUT */
export function decodeCursor(cursor: string): { readonly token: string; readonly key: string } {
  const text = Buffer.from(cursor, 'base64url').toString('utf8');
  const split = text.indexOf('~');
  if (split < 0 || Buffer.from(text, 'utf8').toString('base64url') !== cursor) {
    throw new GraphError('BAD_USER_INPUT', 'not a cursor of this graph');
  }
  return { token: text.slice(0, split), key: text.slice(split + 1) };
}

/** What is wrong with a cursor that names no row of the list. */
export const OF_ANOTHER_LIST = 'this cursor belongs to another list';

export function edgesOf<Node>(nodes: readonly Node[], key: (node: Node) => string, token: string): Edge<Node>[] {
  return nodes.map((node) => ({ node, cursor: encodeCursor(token, key(node)) }));
}

/**
 * One page of a list that is whole in memory and in its final order.
 * @param key unique and stable within the basis
 * @throws GraphError BAD_USER_INPUT where the cursor names no row of the list
 */
export function pageOf<Node>(
  list: readonly Node[],
  key: (node: Node) => string,
  token: string,
  page: { readonly first?: number | null; readonly afterKey?: string },
): Connection<Node> {
  const size = pageSize(page.first);
  let start = 0;
  if (page.afterKey !== undefined) {
    const { afterKey } = page;
    const at = list.findIndex((node) => key(node) === afterKey);
    if (at < 0) throw new GraphError('BAD_USER_INPUT', OF_ANOTHER_LIST);
    start = at + 1;
  }
  const edges = edgesOf(list.slice(start, start + size), key, token);
  return connectionOf(edges, start + size < list.length, start > 0);
}
