import type { Login } from './api'

const roles = ['viewer', 'starter', 'operator'] as const
type Role = (typeof roles)[number]

/** Whether whoever is logged in may do what needs that role. Without a login everybody may do everything. */
export const may = ({ login, role }: Login, needed: Role): boolean =>
  !login || (role !== undefined && roles.indexOf(role) >= roles.indexOf(needed))

/** What each role may do, for people. */
export const roleWords: Record<Role, string> = {
  viewer: 'reads',
  starter: 'reads and starts sagas',
  operator: 'reads, starts, cancels, decides and injects failures',
}
