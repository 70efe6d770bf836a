"""How the older system gives numbers: Flask and SQLAlchemy's ORM over a row for each number, served by gunicorn.

A reference of the benches (`benches/nowserving/references.rs`), which starts it and fills its tables. It is tuned as its
stack allows: connections are kept, rows that another request holds are passed over, and nothing is read back after the
commit.
"""

import datetime
import os
import uuid

from flask import Flask, request
from sqlalchemy import DateTime, Integer, String, create_engine, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

engine = create_engine(os.environ["DATABASE_URL"], pool_size=int(os.environ["THREADS"]), max_overflow=0)
Session = sessionmaker(engine, expire_on_commit=False)
app = Flask(__name__)


class Base(DeclarativeBase):
    pass


class Slot(Base):
    __tablename__ = "slots"
    restaurant_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    order_id: Mapped[uuid.UUID | None]
    allocated_at: Mapped[datetime.datetime | None] = mapped_column(DateTime(timezone=True))


class Order(Base):
    __tablename__ = "slot_orders"
    order_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    restaurant_id: Mapped[int] = mapped_column(Integer)
    number: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(String)
    body: Mapped[dict] = mapped_column(JSONB)
    created_at: Mapped[datetime.datetime] = mapped_column(DateTime(timezone=True))


FREE = select(Slot).where(Slot.order_id.is_(None)).order_by(Slot.number).limit(1).with_for_update(skip_locked=True)


@app.post("/restaurants/<int:restaurant_id>/orders")
def create(restaurant_id):
    body = request.get_json()
    now = datetime.datetime.now(datetime.timezone.utc)
    with Session() as session:
        slot = session.scalars(FREE.where(Slot.restaurant_id == restaurant_id)).first()
        if slot is None:
            return {"error": "no number is free"}, 409
        order = Order(
            order_id=uuid.uuid4(),
            restaurant_id=restaurant_id,
            number=slot.number,
            status="pending",
            body=body,
            created_at=now,
        )
        slot.order_id = order.order_id
        slot.allocated_at = now
        session.add(order)
        session.commit()
    return {
        "internal_order_id": str(order.order_id),
        "restaurant_id": restaurant_id,
        "number": order.number,
        "status": order.status,
        "created_at": now.isoformat(),
        **body,
    }, 201


@app.get("/healthz")
def healthz():
    return {"status": "ok"}
