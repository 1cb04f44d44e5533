"""What people do, through the human API, as the page does."""

import aiohttp

from sandbox.server import Sandbox
from sandbox.world import ART_ID, BEA_ID


class People:
    """The human API as the page uses it."""

    def __init__(self, server: Sandbox, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def post(self, path: str, expect: int = 201, **body: object) -> dict:
        async with self.session.post(f"{self.server.url}/human/{path}", json=body) as response:
            answer = await response.json()
            assert response.status == expect, answer
            return answer

    async def get(self, path: str, expect: int = 200, **query: str) -> dict:
        async with self.session.get(f"{self.server.url}/human/{path}", params=query) as response:
            answer = await response.json()
            assert response.status == expect, answer
            return answer

    async def finish(self, opened: dict) -> dict:
        return await self.get(f"interactions/{opened['interaction_id']}", wait="10")

    async def command(self, command: str, user: str = BEA_ID, channel: str = ART_ID, **options: object) -> dict:
        opened = await self.post("interactions", user=user, channel=channel, command=command, options=options)
        return await self.finish(opened)

    async def press(self, message: str, custom_id: str, user: str = BEA_ID, channel: str = ART_ID) -> dict:
        return await self.finish(
            await self.post("press", user=user, channel=channel, message=message, custom_id=custom_id)
        )

    async def messages(self, user: str = BEA_ID, channel: str = ART_ID) -> list[dict]:
        return (await self.get("messages", user=user, channel=channel))["messages"]
