rule archive_study:
    input:
        dataset=paths.dataset_marker("{study}"),
        table=paths.table("{study}"),
        claims=lambda wildcards: [paths.claims(wildcards.study)] if plan.study(wildcards.study).claims else [],
        figures=lambda wildcards: [
            paths.figure(wildcards.study, figure.id, ending)
            for figure in plan.study(wildcards.study).figures
            for ending in ("svg", "png")
        ],
    output:
        paths.archive("{study}"),
    log:
        paths.log("archive_study", "{study}"),
    benchmark:
        paths.benchmark("archive_study", "{study}")
    conda:
        "../envs/stepscape.yaml"
    threads: 1
    params:
        results=lambda wildcards: settings.results,
        path=lambda wildcards: plan.study(wildcards.study).path,
        fingerprint=lambda wildcards: fingerprint.of_archive(plan.study(wildcards.study)),
    message:
        "Archiving {wildcards.study}"
    shell:
        "stepscape archive {params.path:q} --results {params.results:q} > {log:q} 2>&1"
