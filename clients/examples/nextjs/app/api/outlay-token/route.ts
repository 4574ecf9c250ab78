import { currentUser, outlay } from "../../../lib/outlay";

export const dynamic = "force-dynamic";

export async function GET() {
  const token = await outlay.users.createToken(currentUser(), { ttlSeconds: 3600 });
  return Response.json(token, { headers: { "Cache-Control": "no-store" } });
}
