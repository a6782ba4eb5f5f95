/** What a token may be for: reading, starting sagas too, or everything. Each may do what those before it may. */
export const ROLES = ['viewer', 'starter', 'operator'] as const
export type Role = (typeof ROLES)[number]
