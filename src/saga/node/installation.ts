import { createSecretKey } from 'node:crypto'
import type { Queryable } from './db.js'
import type { PayloadKeys } from './payload-keys.js'

/**
 * The keys of a program and the one of its installation, which stands in PostgreSQL: there it is read when it is first
 * needed, and once. Where that fails it is tried again by who needs it next.
 */
export class InstalledKeys {
  #keys: Promise<PayloadKeys> | undefined

  constructor(
    private readonly db: Queryable,
    private readonly payloadKeys: PayloadKeys,
  ) {}

  get(): Promise<PayloadKeys> {
    this.#keys ??= this.#read().catch((error: unknown) => {
      this.#keys = undefined
      throw error
    })
    return this.#keys
  }

  async #read(): Promise<PayloadKeys> {
    const { rows } = await this.db.query<{ key: Buffer }>('SELECT key FROM saga_installation')
    const [row] = rows
    if (!row)
      throw new Error('The table saga_installation has no key; put back the one that it had, or insert 32 random bytes')
    return this.payloadKeys.with(createSecretKey(row.key))
  }
}
