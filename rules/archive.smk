rule archive_study:
    input:
        dataset=paths.dataset_marker("{study}"),
        table=paths.table("{study}"),
        claims=lambda wildcards: [paths.claims(wildcards.study)] if outline.studies[wildcards.study].has_claims else [],
        figures=lambda wildcards: [
            paths.figure(wildcards.study, figure, ending)
            for figure in outline.studies[wildcards.study].figures
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
        path=lambda wildcards: outline.studies[wildcards.study].path,
        fingerprint=lambda wildcards: outline.studies[wildcards.study].fingerprints["archive"],
    message:
        "Archiving {wildcards.study}"
    shell:
        "stepscape archive {params.path:q} --results {params.results:q} > {log:q} 2>&1"
