rule collect_study:
    input:
        lambda wildcards: [paths.receipt(pack) for pack in outline.studies[wildcards.study].packs],
    output:
        dataset=paths.dataset_marker("{study}"),
        table=report(
            paths.table("{study}"),
            caption="../workflow/report/runs.rst",
            category="Studies",
            labels={"study": "{study}", "what": "table of runs"},
        ),
    log:
        paths.log("collect_study", "{study}"),
    benchmark:
        paths.benchmark("collect_study", "{study}")
    conda:
        "../envs/stepscape.yaml"
    threads: 1
    params:
        results=lambda wildcards: settings.results,
        path=lambda wildcards: outline.studies[wildcards.study].path,
        fingerprint=lambda wildcards: outline.studies[wildcards.study].fingerprints["dataset"],
    message:
        "Collecting {wildcards.study}"
    shell:
        "stepscape collect {params.path:q} --results {params.results:q} > {log:q} 2>&1"
