/** Every migration, oldest first. Append only: a released migration never changes. */
export const MIGRATIONS: (new () => import('typeorm').MigrationInterface)[] = [];
