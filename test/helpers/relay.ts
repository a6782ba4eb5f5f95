import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { readShared } from './shared.js'

/** A real server behind a wire that can be cut. */
export interface Relay {
  address: string
  cut(): void
  mend(): void
  stop(): Promise<void>
}

export async function startRelay(server = readShared().temporal): Promise<Relay> {
  const [host = '', port = ''] = server.split(':')
  const wires = new Set<Socket>()
  let isCut = false
  const relay = createServer((near) => {
    if (isCut) near.destroy()
    const far = connect(Number(port), host)
    for (const end of [near, far]) end.on('error', () => {})
    wires.add(near.on('close', () => void far.destroy()))
    near.pipe(far).pipe(near)
  })
  await new Promise<void>((resolve) => void relay.listen(0, '127.0.0.1', resolve))
  return {
    address: `127.0.0.1:${(relay.address() as AddressInfo).port}`,
    cut() {
      isCut = true
      for (const wire of wires) wire.destroy()
    },
    mend() {
      isCut = false
    },
    async stop() {
      for (const wire of wires) wire.destroy()
      await new Promise((resolve) => relay.close(resolve))
    },
  }
}
