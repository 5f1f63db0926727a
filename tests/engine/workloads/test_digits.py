import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from engine.errors import WorkloadError
from engine.evaluation import losses
from engine.workloads.digits import DigitsWorkload


def test_the_splits_share_no_instance_and_no_writer() -> None:
    workload = DigitsWorkload()
    splits = [workload.instances(split) for split in ("train", "val", "test")]
    assert [len(split) for split in splits] == [700, 550, 547]
    assert len({name for split in splits for name in split.ids}) == 1797
    writers = [set(split.subjects) for split in splits]
    assert sum(map(len, writers)) == len(set.union(*writers)) == 180


def test_an_id_names_the_image_at_that_place_of_scikit_learns_set() -> None:
    images, _ = load_digits(return_X_y=True)
    instances = DigitsWorkload().instances("val")
    position = int(instances.ids[17].removeprefix("digit-"))
    batch = instances.batch(torch.tensor([17]))
    torch.testing.assert_close(batch.inputs[0] * 16, torch.from_numpy(images[position]).float())


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_same_share_of_labels_is_wrong_in_every_split(split: str) -> None:
    true = load_digits().target
    instances = DigitsWorkload(noise=0.25).instances(split)
    targets = instances.batch(torch.arange(len(instances))).targets
    digits = torch.tensor([true[int(name.removeprefix("digit-"))] for name in instances.ids])
    wrong = {
        "digit": (targets["digit"] != digits).float().mean(),
        "parity": (targets["parity"] != digits % 2).float().mean(),
        "magnitude": (targets["magnitude"] != (digits >= 5)).float().mean(),
    }
    assert wrong == pytest.approx(dict.fromkeys(wrong, 0.25), abs=0.05)


def test_ids_and_inputs_do_not_depend_on_the_options() -> None:
    noisy, clean = DigitsWorkload(noise=0.4).instances("test"), DigitsWorkload(0).instances("test")
    assert noisy.ids == clean.ids


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": 0.9}, "option 'noise' must be a number between 0 and 0.5, not 0.9"),
        ({"hidden": 0}, "option 'hidden' must be a whole number of at least 1, not 0"),
        ({"epochs": "ten"}, "option 'epochs' must be a whole number of at least 1, not 'ten'"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        DigitsWorkload(**options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_trained_network_tells_members_from_strangers_on_every_task() -> None:
    workload = DigitsWorkload()
    torch.manual_seed(0)
    model = workload.build_model()
    train, held_out = workload.instances("train"), workload.instances("val")
    workload.train(model, train, train.supervision, 0, lambda step, of: None)
    cpu = torch.device("cpu")
    seen = losses(workload, model, train, train.supervision, cpu)
    unseen = losses(workload, model, held_out, held_out.supervision, cpu)
    truth = [0] * len(seen) + [1] * len(unseen)
    for column, task in enumerate(workload.tasks):
        auc = roc_auc_score(truth, torch.cat([seen[:, column], unseen[:, column]]))
        assert auc > 0.7, task
