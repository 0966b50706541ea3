/** Fields of a projection that are read only where they are asked for. */
import { Args, Context, Parent, ResolveField, Resolver } from '@nestjs/graphql';
import type { BuildView, ProjectionView, VerificationView } from '../operations-view.js';
import type { GraphContext } from './resolvers.js';

/** Reports are large: no answer holds more of them. */
const MOST_VERIFICATIONS = 50;

@Resolver('Projection')
export class ProjectionFields {
  @ResolveField('builds')
  builds(@Parent() { name }: ProjectionView, @Context() { session }: GraphContext): Promise<BuildView[]> {
    return session.services.operations.builds(name);
  }

  @ResolveField('verifications')
  verifications(
    @Parent() { name }: ProjectionView,
    @Args('first') first: number | null,
    @Context() { session }: GraphContext,
  ): Promise<VerificationView[]> {
    return session.services.operations.verifications(name, Math.min(Math.max(first ?? 10, 0), MOST_VERIFICATIONS));
  }
}
