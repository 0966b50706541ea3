/**
 * Documents that the operator has listed (`queries.documents`): clients ask by their SHA-256 and never have to send them, and with `queries.onlyListed`
 * nothing else is carried out, for anyone but engineers.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { ApolloServerPlugin } from '@apollo/server';
import { parse, validate, type GraphQLSchema } from 'graphql';
import { mayAct, type Principal } from '../../auth/principal.js';
import { GraphError } from '../errors.js';
import type { GraphContext } from './resolvers.js';

/** The file of the list is not what it should be. Names places in it, never its content. */
export class DocumentListError extends Error {
  readonly code = 'DOCUMENT_LIST';
  constructor(fault: string) {
    super(`queries.documents: ${fault}`);
  }
}

/** A document as a manifest lists it (Apollo's `apollo-persisted-query-manifest`, version 1). */
interface ManifestOperation {
  readonly id: string;
  readonly body: string;
}

export class ListedDocuments {
  /** By SHA-256 in hexadecimal, as clients ask for them. */
  private constructor(
    private readonly texts: ReadonlyMap<string, string>,
    private readonly only: boolean,
  ) {}

  /** Nothing is listed, and everything may be asked. */
  static none(): ListedDocuments {
    return new ListedDocuments(new Map(), false);
  }

  /**
   * @param file JSON: Apollo's manifest, or an object with the documents by their SHA-256
   * @param only nothing else may be asked
   * @throws DocumentListError
   */
  static load(file: string, only: boolean): ListedDocuments {
    let list: unknown;
    try {
      list = JSON.parse(readFileSync(file, 'utf8'));
    } catch (error) {
      throw new DocumentListError(`cannot be read as JSON (${(error as NodeJS.ErrnoException).code ?? 'no JSON'})`);
    }
    const texts = new Map<string, string>();
    for (const { id, body } of operationsOf(list)) {
      if (hashOf(body) !== id) throw new DocumentListError(`${id} is not the SHA-256 of its document`);
      texts.set(id, body);
    }
    return new ListedDocuments(texts, only);
  }

  text(hash: string): string | undefined {
    return this.texts.get(hash);
  }

  /** @throws GraphError FORBIDDEN where only listed documents may be asked, and this is none */
  check(document: string, principal: Principal): void {
    if (!this.only || mayAct(principal, ['engineer']) || this.texts.has(hashOf(document))) return;
    throw new GraphError('FORBIDDEN', 'only documents that the operator has listed are answered here');
  }

  /** Hashes of documents that this hub's schema cannot answer. */
  unanswerable(schema: GraphQLSchema): string[] {
    return [...this.texts].flatMap(([hash, text]) => (isAnswerable(schema, text) ? [] : [hash]));
  }
}

function hashOf(document: string): string {
  return createHash('sha256').update(document).digest('hex');
}

function isAnswerable(schema: GraphQLSchema, text: string): boolean {
  try {
    return validate(schema, parse(text)).length === 0;
  } catch {
    return false;
  }
}

function operationsOf(list: unknown): ManifestOperation[] {
  if (typeof list !== 'object' || list === null || Array.isArray(list))
    throw new DocumentListError('expected a manifest, or an object with documents by their SHA-256');
  const operations =
    'operations' in list && Array.isArray(list.operations)
      ? (list.operations as unknown[])
      : Object.entries(list as Record<string, unknown>).map(([id, body]): unknown => ({ id, body }));
  return operations.map((operation, index) => {
    const { id, body } = (operation ?? {}) as Partial<Record<keyof ManifestOperation, unknown>>;
    if (typeof id !== 'string' || typeof body !== 'string')
      throw new DocumentListError(`expected id and body, both texts, in place ${index}`);
    return { id: id.toLowerCase(), body };
  });
}

/** Puts listed documents in the place of their hashes, and refuses others where only these may be asked. */
export function documentsPlugin(documents: ListedDocuments): ApolloServerPlugin<GraphContext> {
  return {
    async requestDidStart({ request }) {
      const hash: unknown = (request.extensions?.['persistedQuery'] as { sha256Hash?: unknown } | undefined)
        ?.sha256Hash;
      if (request.query === undefined && typeof hash === 'string') {
        const text = documents.text(hash);
        if (text !== undefined) request.query = text;
      }
      return {
        async didResolveOperation({ source, contextValue }) {
          documents.check(source, contextValue.principal);
        },
      };
    },
  };
}
