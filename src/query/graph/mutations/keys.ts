/** Changes of the key-encryption key. */
import { Args, Context, Mutation, Resolver } from '@nestjs/graphql';
import type { KeysView } from '../../key-desk.js';
import type { GraphContext } from '../resolvers.js';
import { requestedBy, type MutationArguments } from './arguments.js';
import { refusing } from './refusal.js';

@Resolver()
export class KeyMutations {
  /** @throws GraphError CONFLICT where the provider makes no versions itself, WRITER_UNAVAILABLE */
  @Mutation('rotateKeys')
  async rotate(@Args() asked: MutationArguments, @Context() context: GraphContext): Promise<KeysView> {
    const { mutations, keyDesk } = context.session.services;
    const { idempotencyKey } = asked;
    await refusing(() =>
      mutations.once(
        { operation: 'rotateKeys', arguments: {}, idempotencyKey, requestedBy: requestedBy(context) },
        async () => {
          await keyDesk.rotate();
          return null;
        },
      ),
    );
    return keyDesk.view();
  }
}
