import numpy as np
import pytest

from engine.workloads.rooms import _ball, _box, _plane, draw_room

AHEAD = np.array([[0.0, 0.0, 1.0]])


def test_a_plane_is_hit_in_front_only() -> None:
    distance, normal = _plane(np.array([[0.0, -0.5, 1.0], [0.0, 0.5, 1.0]]), 1, -1.0)
    assert distance.tolist() == [2.0, np.inf]
    assert normal[0].tolist() == [0.0, 1.0, 0.0]


def test_a_ball_is_hit_on_the_near_side() -> None:
    distance, normal = _ball(AHEAD, np.array([0.0, 0.0, 5.0]), 2.0)
    assert distance[0] == pytest.approx(3.0)
    assert normal[0].tolist() == [0.0, 0.0, -1.0]


def test_a_box_is_hit_on_its_near_face_and_missed_beside_it() -> None:
    low, high = np.array([-1.0, -1.0, 2.0]), np.array([1.0, 1.0, 3.0])
    rays = np.array([[0.1, 0.1, 1.0], [0.9, 0.1, 1.0]])
    distance, normal = _box(rays, low, high)
    assert distance.tolist() == [2.0, np.inf]
    assert normal[0].tolist() == [0.0, 0.0, -1.0]


@pytest.mark.parametrize("seed", range(20))
def test_every_pixel_of_a_room_has_a_surface(seed: int) -> None:
    room = draw_room(np.random.default_rng(seed), 24)
    assert np.isfinite(room.depth).all()
    assert (room.depth > 0).all()
    np.testing.assert_allclose(np.linalg.norm(room.normals, axis=0), 1, rtol=1e-5)


def test_a_seed_is_a_room() -> None:
    first, again = (draw_room(np.random.default_rng(3), 16) for _ in range(2))
    assert (first.image == again.image).all()
    assert (first.depth == again.depth).all()
