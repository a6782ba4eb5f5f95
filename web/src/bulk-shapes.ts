// Until the schemas are there.
export interface ListedBulk {
  bulkId: string
  type: string
  status: 'RUNNING' | 'PAUSED' | 'ENDED'
  pausedBecause?: string
  total: number
  completed: number
  compensated: number
  partiallyCompensated: number
  needsAttention: number
  running: number
  rejected: number
  startedAt: string
  endedAt?: string
  links: { self: string; events: string; sagas: string; stuck?: string }
}
export interface Rejection {
  line: number
  errors: { path: string; message: string }[]
}
export interface Bulk extends ListedBulk {
  rejections: Rejection[]
  failures: { step?: string; type: string; message: string; count: number }[]
}
export interface Bulks {
  bulks: ListedBulk[]
}
export interface BulkAccepted {
  bulkId: string
  accepted: number
  rejected: number
  rejections?: Rejection[]
  links: { self: string; events: string; sagas: string }
}
